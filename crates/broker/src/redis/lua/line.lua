-- What is decided in the same way when a message is sent and when it is picked up. Both scripts have `root` as ARGV[1].
local root, now = ARGV[1], server_time()

local at = 2
local function take(count)
  at = at + count
  return unpack(ARGV, at - count, at - 1)
end

-- Reads what an item asks for: id, its list, earliest time or 0, debounce key or '', window in s, lock or '', mode (start, end
-- or for), life of a waiting lock and of one for a time in ms, join (1 or 0), number of limits, then for each: key, most,
-- period in s or 0.
local function read_demand(item)
  local limits
  item.id, item.list, item.earliest, item.debounce, item.window = take(5)
  item.lock, item.mode, item.waiting, item.span, item.join, limits = take(6)
  item.earliest, item.window = tonumber(item.earliest), tonumber(item.window)
  item.waiting, item.limits = tonumber(item.waiting), {}
  for l = 1, tonumber(limits) do
    local key, most, period = take(3)
    item.limits[l] = { key = key, most = tonumber(most), period = tonumber(period) }
  end
end

-- Among the delayed, from where it is called or comes at its time.
local function set_aside(item, gate, till, raw)
  local message = #item.list .. ':' .. item.list .. raw
  local member = keep(KEYS[4], KEYS[5], twins(root), item.id, item.tag, till, message)
  call('HSET', gate, 'parked', member, 'at', till)
  call('EXPIRE', gate, math.ceil(till - now) + KEEP)
end

-- In the line of a key, at the place where it stood when it waits again. `most`: of how many slots, 0 for other keys.
local function stand(item, gate, key, most)
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
end

-- How many stand before it, or would: one that has waited in another line brings its ticket along.
local function rank(item, key)
  local line = root .. 'line:' .. key
  tidy(root, key, now)
  local place = call('ZRANK', line, item.id)
  if place then return place end
  local ticket = call('HGET', root .. 'gate:' .. item.id, 'ticket')
  return ticket and call('ZCOUNT', line, '-inf', '(' .. ticket) or call('ZCARD', line)
end

-- The time until which it has to wait for a limit, at the latest; nothing when it may go.
local function blocked(limit, before)
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
  if used < limit.most then
    -- Also when it was only found out now that there is room: nobody gives back what was removed above, or by `tidy`.
    wake(root, limit.key, limit.most - used, now)
  end
  if used + before < limit.most then return nil end
  -- It is woken as soon as it may go; this is for what nobody gives back.
  return now + GRACE + before
end

-- The limit that has no room for it, and until when; nothing when all have.
local function first_blocked(item)
  for _, limit in ipairs(item.limits) do
    local till = blocked(limit, rank(item, limit.key))
    if till then return limit, till end
  end
end

-- Makes it the last call of its key, from now on; the one before it goes back to its queue, to end there. Returns when the
-- window is over.
local function supersede(item, gate)
  local key = root .. item.debounce
  local before = call('HGET', key, 'owner')
  local due = math.max(now + item.window, item.earliest)
  call('HSET', key, 'owner', item.id, 'at', due)
  call('EXPIRE', key, math.ceil(due - now) + KEEP)
  call('HSET', gate, 'debounce', item.debounce)
  if before and before ~= item.id then recall_parked(root, before, now) end
  return due
end
