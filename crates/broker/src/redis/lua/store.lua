-- Stores one result and announces it, unless a SUCCESS stands there (celery/backends/base.py, store_result).
local call = redis.call
local SUCCESS = '{"status": "SUCCESS"'
-- A record that stands is looked at as its bytes are: msgpack begins with the length of a map and then the same two words,
-- YAML has a whole line. A compressed one is never met here: its store writes it itself.
local function succeeded(record)
  if string.sub(record, 1, #SUCCESS) == SUCCESS then return true end
  if string.find(record, '^[\128-\143]\166status\167SUCCESS') or string.find(record, '^\222..\166status\167SUCCESS') then
    return true
  end
  return string.find(record, '^%l') and string.find(record, '\nstatus: SUCCESS\n', 1, true)
end
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
    if stands and succeeded(stands) then return end
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
