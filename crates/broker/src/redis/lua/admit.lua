-- Decides for a batch of deliveries whether they may run now, and lets those that may not wait out of their queues.
-- KEYS: worker, unacked, unacked_index, delayed, delayed:messages
-- ARGV: root, number of items, then for each: tag, early (1 or 0), the end of its unacked entry, and what it asks for as in
--       line.lua
-- Returns for each: 'run', 'wait', 'lost', 'duplicate <id>' or 'joined <id>'.
-- A write that needs no memory goes first: a script that has written may go on when the memory is full, and tasks that run
-- are what makes room.
call('ZREM', KEYS[3], '')
-- Out of the queue and of everybody's hands.
local function park(item, gate, till)
  local entry = call('HGET', KEYS[2], item.tag)
  set_aside(item, gate, till, string.sub(entry, 2, #entry - #item.ending))
  call('HDEL', KEYS[2], item.tag)
  call('ZREM', KEYS[3], item.tag)
  return 'wait'
end

-- `most`: of how many slots, 0 for other keys.
local function line_up(item, gate, key, till, most)
  stand(item, gate, key, most)
  return park(item, gate, till)
end

local function admit(item)
  if not call('ZSCORE', KEYS[3], item.tag) then return 'lost' end
  local gate = root .. 'gate:' .. item.id
  local was = call('HMGET', gate, 'joined', 'passed', 'debounce', 'tag')
  local lock = item.lock ~= '' and item.lock
  if was[1] then
    local owner, ended = holder(root, item.lock, item.id)
    if owner == was[1] and not ended then
      return line_up(item, gate, item.lock, now + GRACE + rank(item, item.lock), 0)
    end
    return 'joined ' .. was[1]
  end
  if item.debounce ~= '' then
    local key = root .. item.debounce
    local due
    if was[3] ~= item.debounce then
      due = supersede(item, gate)
    else
      local last = call('HMGET', key, 'owner', 'at')
      -- A later call took its place; one that has ended already is not known by name any more.
      if last[1] ~= item.id then return 'duplicate ' .. (last[1] or 'a later call') end
      due = tonumber(last[2])
      -- It may come again much later: a retry, or its turn under a limit.
      call('EXPIRE', key, math.ceil(math.max(due, item.earliest) - now) + KEEP)
    end
    if due > now then return park(item, gate, due) end
  end
  if lock and not (item.mode == 'start' and was[2]) then
    local owner, ended = holder(root, lock, item.id)
    if owner then
      if item.join ~= '1' then return 'duplicate ' .. owner end
      call('HSET', gate, 'joined', owner, 'lock', lock)
      call('EXPIRE', gate, KEEP)
      if ended then return 'joined ' .. owner end
      return line_up(item, gate, lock, now + GRACE + rank(item, lock), 0)
    end
    call('HSET', gate, 'lock', lock, 'mode', item.mode, 'waiting', item.waiting)
  else
    lock = false
  end
  local wait, line
  -- What was admitted and asks again has not heard the answer.
  if item.earliest > now then
    wait = item.earliest
  elseif was[4] ~= item.tag then
    line, wait = first_blocked(item)
  end
  if wait then
    if lock then
      local waiting = item.waiting + math.ceil(1000 * (wait - now))
      take_lock(root, lock, item.id, '', item.early, item.mode, waiting, item.span)
    end
    if line then return line_up(item, gate, line.key, wait, line.period == 0 and line.most or 0) end
    return park(item, gate, wait)
  end
  local slots = ''
  for _, limit in ipairs(item.limits) do
    if call('ZREM', root .. 'line:' .. limit.key, item.id) == 1 then forget_empty(root, limit.key) end
    if limit.period == 0 then
      call('HSET', root .. limit.key, item.tag, item.early)
      call('EXPIRE', root .. limit.key, KEEP)
      slots = slots .. limit.most .. ' ' .. limit.key .. '\n'
    elseif was[4] ~= item.tag then
      call('LPUSH', root .. limit.key, now)
      call('LTRIM', root .. limit.key, 0, limit.most - 1)
      call('PEXPIRE', root .. limit.key, math.ceil(1000 * limit.period))
    end
  end
  if lock and item.mode == 'start' then
    if call('HGET', root .. lock, 'owner') == item.id then call('DEL', root .. lock) end
    call('HSET', gate, 'passed', 1)
  elseif lock then
    -- One for a time needs nobody who vouches for it.
    local tag = item.mode == 'for' and '' or item.tag
    take_lock(root, lock, item.id, tag, item.early, item.mode, item.waiting, item.span)
  end
  call('HDEL', gate, 'line', 'most', 'parked', 'at', 'ticket')
  call('HSET', gate, 'tag', item.tag, 'slots', slots)
  call('EXPIRE', gate, KEEP)
  return 'run'
end

local answers = {}
for i = 1, tonumber(take(1)) do
  local item = {}
  item.tag, item.early, item.ending = take(3)
  read_demand(item)
  answers[i] = admit(item)
end
return answers
