-- What tasks hold, and where they wait, before they run. All keys lie under `root`:
--   gate:<id>      hash: lock, mode, waiting (ms), debounce, slots (a line `<most> <key>` each), tag: what the task holds, and for which
--                  delivery; sent: the digest of the message about which was decided as it was sent; line, most, parked, at,
--                  ticket: where it waits, for how many slots, under which member of the delayed, until when at the latest, and
--                  since when; joined: whose result it waits for; passed: it began once
--   unique:...     hash: owner, tag ('' while the owner's message is in nobody's hands, and always in a lock for a time), early,
--                  ended
--   debounce:...   hash: owner, at
--   slots:...      hash: tag to 1 when its message is acked as it starts, else 0
--   rate:...       list: the times of the last starts, the newest first
--   line:<key>     sorted set: ids of the tasks that wait for the key, by ticket
-- KEYS[2] to KEYS[5] are unacked, unacked_index, delayed and delayed:messages.
local call = redis.call
-- Whoever was woken and does not come for so many seconds loses its place in front of the others.
local GRACE = 10
-- What nobody removes goes by itself. In seconds.
local KEEP = 30 * 86400
local WOKEN_AT_ONCE = 500

local function twins(root)
  return root .. 'delayed:twins:'
end

local function server_time()
  local time = call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Whether the message of a delivery is still held, or will be put back: then what it holds stays. One that was acked as it
-- began is only vouched for by its worker's lease.
local function alive(root, tag, early)
  if call('ZSCORE', KEYS[3], tag) then return true end
  return early == '1' and call('EXISTS', root .. 'lease:' .. string.match(tag, '^(.*):')) == 1
end

-- Who holds a lock, and whether it has ended; nothing when that is nobody, or the task itself.
local function holder(root, lock, id)
  local held = call('HMGET', root .. lock, 'owner', 'tag', 'early', 'ended')
  if not held[1] or held[1] == id then return nil end
  if held[4] or held[2] == '' or alive(root, held[2], held[3]) then return held[1], held[4] end
  return nil
end

-- `waiting` and `span` are in milliseconds. A lock for a time runs from when it was first taken.
local function take_lock(root, lock, id, tag, early, mode, waiting, span)
  local key = root .. lock
  local mine = call('HGET', key, 'owner') == id
  if not mine then call('DEL', key) end
  call('HSET', key, 'owner', id, 'tag', tag, 'early', early)
  if mode ~= 'for' then
    call('PEXPIRE', key, tag == '' and waiting or KEEP * 1000)
  elseif not mine then
    call('PEXPIRE', key, span)
  end
end

-- A line in which nobody stands is none.
local function forget_empty(root, key)
  if call('EXISTS', root .. 'line:' .. key) == 1 then return end
  call('SREM', root .. 'lines', key)
  -- Tickets say who came first while somebody waits.
  if call('EXISTS', root .. 'lines') == 0 then call('DEL', root .. 'tickets') end
end

-- Takes those off the head of a line whose messages are gone.
local function tidy(root, key, now)
  local line, removed = root .. 'line:' .. key, false
  while true do
    local first = call('ZRANGE', line, 0, 0)[1]
    local seen = first and call('HMGET', root .. 'gate:' .. first, 'parked', 'at')
    if not seen
      or seen[1] and call('HEXISTS', KEYS[5], seen[1]) == 1
      or seen[2] and tonumber(seen[2]) + GRACE > now then
      break
    end
    call('ZREM', line, first)
    removed = true
  end
  if removed then forget_empty(root, key) end
end

-- Puts the message of a task that waits at the head of its queue. Where something else has taken the list's name it stays, and
-- is tried again when its time is over.
local function recall_parked(root, id, now)
  local gate = root .. 'gate:' .. id
  local parked = call('HGET', gate, 'parked')
  if parked and call('HEXISTS', KEYS[5], parked) == 1 and move(KEYS[4], KEYS[5], twins(root), parked) then
    call('HDEL', gate, 'parked')
    call('HSET', gate, 'at', now)
  end
end

-- Puts the first of a line, as many as may go, at the heads of their queues.
local function wake(root, key, free, now)
  if free <= 0 then return end
  local line = root .. 'line:' .. key
  tidy(root, key, now)
  local ids = call('ZRANGE', line, 0, math.min(free, WOKEN_AT_ONCE) - 1)
  for i = #ids, 1, -1 do recall_parked(root, ids[i], now) end
end

-- Takes a task out of a line; the one behind it may go where it did not.
local function leave_line(root, id, line, most, now)
  local key = string.sub(line, #root + 6)
  if call('ZREM', line, id) == 1 then forget_empty(root, key) end
  if most and most ~= '0' then
    wake(root, key, tonumber(most) - call('HLEN', root .. key), now)
  end
end

-- A delivery leaves: for good ('end'), or to come again ('again'), when only the slots are given up.
local function leave(root, id, tag, how, pause)
  local gate = root .. 'gate:' .. id
  local held = call('HMGET', gate, 'lock', 'mode', 'debounce', 'slots', 'tag', 'line', 'waiting', 'most')
  local lock, now = held[1], server_time()
  for most, key in string.gmatch(held[4] or '', '(%d+) ([^\n]+)\n') do
    if call('HDEL', root .. key, tag) == 1 then
      wake(root, key, tonumber(most) - call('HLEN', root .. key), now)
    end
  end
  if how == 'again' then
    if held[5] == tag then call('HDEL', gate, 'slots', 'tag') end
    local owner = lock and call('HMGET', root .. lock, 'owner', 'tag')
    if owner and owner[1] == id and owner[2] == tag then
      call('HSET', root .. lock, 'tag', '')
      if held[2] ~= 'for' then call('PEXPIRE', root .. lock, (tonumber(held[7]) or 0) + tonumber(pause)) end
    end
    return
  end
  local owner = lock and call('HGET', root .. lock, 'owner')
  if owner == id then
    if held[2] == 'for' then
      call('HSET', root .. lock, 'tag', '', 'ended', 1)
    else
      call('DEL', root .. lock)
    end
  end
  -- Those who joined hear of the end also when the lock is nobody's by now.
  if lock and (not owner or owner == id) then wake(root, lock, WOKEN_AT_ONCE, now) end
  if held[3] and call('HGET', root .. held[3], 'owner') == id then call('DEL', root .. held[3]) end
  call('DEL', gate)
  if held[6] then leave_line(root, id, held[6], held[8], now) end
end
