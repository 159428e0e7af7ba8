-- Stores one result and announces it, unless a SUCCESS stands there (celery/backends/base.py, store_result).
local call = redis.call
local SUCCESS = '{"status": "SUCCESS"'
local function store(key, value, life)
  local stored
  if life == '' then
    stored = call('SET', key, value, 'NX')
  else
    stored = call('SET', key, value, 'PX', life, 'NX')
  end
  -- Mostly nothing stands there yet. MGET gives nil, not an error, for what is no string.
  if not stored then
    local stands = call('MGET', key)[1]
    if stands and string.sub(stands, 1, #SUCCESS) == SUCCESS then return end
    if life == '' then
      call('SET', key, value)
    else
      call('SET', key, value, 'PX', life)
    end
  end
  call('PUBLISH', key, value)
end

-- A key that a command is going to write must be of its type or absent; checked before anything is written.
local function check(key, wanted)
  local kind = call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return { err = 'WRONGTYPE the key ' .. key .. ' is a ' .. kind .. ', not a ' .. wanted }
  end
end
