-- Decides for a batch of deliveries whether they may run now, and lets those that may not wait out of their queues.
-- KEYS: worker, unacked, unacked_index, delayed, delayed:messages
-- ARGV: root, number of items, then for each: tag, id, early (1 or 0), its list, the end of its unacked entry,
--       earliest time or 0, debounce key or '', window in s, lock or '', mode (start, end or for), life of a waiting lock
--       and of one for a time in ms, join (1 or 0), number of limits, then for each: key, most, period in s or 0
-- Returns for each: 'run', 'wait', 'lost', 'duplicate <id>' or 'joined <id>'.
local root, now = ARGV[1], server_time()
-- A write that needs no memory goes first: a script that has written may go on when the memory is full, and tasks that run
-- are what makes room.
call('ZREM', KEYS[3], '')
local at = 3
local function take(count)
  at = at + count
  return unpack(ARGV, at - count, at - 1)
end

-- Out of the queue and of everybody's hands.
local function park(item, gate, till)
  local entry = call('HGET', KEYS[2], item.tag)
  local raw = string.sub(entry, 2, #entry - #item.ending)
  local message = #item.list .. ':' .. item.list .. raw
  local member = keep(KEYS[4], KEYS[5], twins(root), item.id, item.tag, till, message)
  call('HDEL', KEYS[2], item.tag)
  call('ZREM', KEYS[3], item.tag)
  call('HSET', gate, 'parked', member, 'at', till)
  call('EXPIRE', gate, math.ceil(till - now) + KEEP)
  return 'wait'
end

-- In the line of a key, at the place where it stood when it waits again. `most`: of how many slots, 0 for other keys.
local function line_up(item, gate, key, till, most)
  local line = root .. 'line:' .. key
  local was = call('HMGET', gate, 'line', 'ticket', 'most')
  if was[1] and was[1] ~= line then leave_line(root, item.id, was[1], was[3], now) end
  local ticket = was[2]
  if not ticket then ticket = call('INCR', root .. 'tickets') end
  call('EXPIRE', root .. 'tickets', KEEP)
  call('ZADD', line, ticket, item.id)
  call('EXPIRE', line, KEEP)
  call('SADD', root .. 'lines', key)
  call('HSET', gate, 'line', line, 'ticket', ticket, 'most', most)
  return park(item, gate, till)
end

-- How many stand before it.
local function rank(item, key)
  local line = root .. 'line:' .. key
  tidy(root, key, now)
  return call('ZRANK', line, item.id) or call('ZCARD', line)
end

-- The time until which it has to wait for a limit, at the latest; nothing when it may go.
local function blocked(item, limit, before)
  local key = root .. limit.key
  if limit.period > 0 then
    -- Each in front takes the place of an earlier start.
    local turn = before % limit.most
    local rounds = (before - turn) / limit.most
    local start = call('LINDEX', key, limit.most - 1 - turn)
    local free = (start and tonumber(start) + limit.period or now) + rounds * limit.period
    if free > now then return free end
    return nil
  end
  local used = call('HLEN', key)
  if used + before >= limit.most then
    local holders = call('HGETALL', key)
    for i = 1, #holders, 2 do
      if not alive(root, holders[i], holders[i + 1]) then
        call('HDEL', key, holders[i])
        used = used - 1
      end
    end
  end
  if used + before < limit.most then return nil end
  -- It is woken as soon as it may go; this is for what nobody gives back.
  return now + GRACE + before
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
    local last = call('HMGET', key, 'owner', 'at')
    local due = last[1] and tonumber(last[2]) or 0
    if was[3] ~= item.debounce then
      due = math.max(now + item.window, item.earliest)
      call('HSET', key, 'owner', item.id, 'at', due)
      call('EXPIRE', key, math.ceil(due - now) + KEEP)
      call('HSET', gate, 'debounce', item.debounce)
    elseif last[1] ~= item.id then
      -- A later call took its place; one that has ended already is not known by name any more.
      return 'duplicate ' .. (last[1] or 'a later call')
    else
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
  if item.earliest > now then
    wait = item.earliest
  else
    for _, limit in ipairs(item.limits) do
      -- What was admitted and asks again has not heard the answer.
      if was[4] ~= item.tag then
        wait = blocked(item, limit, rank(item, limit.key))
        if wait then
          line = limit
          break
        end
      end
    end
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
for i = 1, tonumber(ARGV[2]) do
  local item, limits = { limits = {} }, nil
  item.tag, item.id, item.early, item.list, item.ending = take(5)
  item.earliest, item.debounce, item.window = take(3)
  item.lock, item.mode, item.waiting, item.span, item.join, limits = take(6)
  item.earliest, item.window = tonumber(item.earliest), tonumber(item.window)
  item.waiting = tonumber(item.waiting)
  for l = 1, tonumber(limits) do
    local key, most, period = take(3)
    item.limits[l] = { key = key, most = tonumber(most), period = tonumber(period) }
  end
  answers[i] = admit(item)
end
return answers
