-- Sends a message, and decides as at its pick-up: it takes its lock unless somebody else has it, takes the place of an earlier
-- call, or goes into a line instead of its queue.
-- KEYS: list, unacked, unacked_index, delayed, delayed:messages
-- ARGV: root, payload, number of the lists that are served before its own or with it, these, and what it asks for as in line.lua
-- Returns '', or the id of the holder of the lock.
local item = {}
local payload, ahead = take(2)
local lists = { take(tonumber(ahead)) }
read_demand(item)
item.tag = redis.sha1hex(payload)
local gate = root .. 'gate:' .. item.id
-- Asked again after a lost answer: it is sent already.
if call('HGET', gate, 'sent') == item.tag then return '' end
local kind = call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'list' then
  return { err = 'WRONGTYPE the key ' .. KEYS[1] .. ' is a ' .. kind .. ', not a list' }
end

-- Only workers of ours bring back what was set aside, and one that hears nothing of it looks once a second.
local function may_wait_aside(till)
  if till - now <= 1 then return false end
  for _, worker in ipairs(call('ZREVRANGE', root .. 'workers', 0, -1)) do
    if call('EXISTS', root .. 'lease:' .. worker) == 1 then return true end
  end
  return false
end

-- A message that waits in the queue was sent before: this one may not be in the line in front of it.
local function is_next()
  for _, list in ipairs(lists) do
    if call('EXISTS', list) == 1 then return false end
  end
  return true
end

local function judged()
  call('HSET', gate, 'sent', item.tag)
  call('EXPIRE', gate, KEEP)
end

if item.debounce ~= '' then
  local due = supersede(item, gate)
  judged()
  if due > now then
    -- Its lock and limits are looked at when the window is over.
    if may_wait_aside(due) then
      set_aside(item, gate, due, payload)
    else
      call('LPUSH', KEYS[1], payload)
    end
    return ''
  end
end
local lock = item.lock ~= '' and item.lock
local owner = lock and holder(root, lock, item.id)
if owner then return owner end
-- A task that sends its own id once more, while it holds the lock.
if lock and call('HGET', root .. lock, 'owner') == item.id then return '' end
local line, till
if item.earliest <= now and #item.limits > 0 and is_next() then line, till = first_blocked(item) end
if line and not may_wait_aside(till) then line = nil end
if lock then
  local waiting = item.waiting + math.ceil(1000 * math.max(line and till - now or 0, item.earliest - now, 0))
  take_lock(root, lock, item.id, '', '0', item.mode, waiting, item.span)
  call('HSET', gate, 'lock', lock, 'mode', item.mode, 'waiting', item.waiting)
  judged()
end
if line then
  stand(item, gate, line.key, line.period == 0 and line.most or 0)
  judged()
  set_aside(item, gate, till, payload)
else
  call('LPUSH', KEYS[1], payload)
end
return ''
