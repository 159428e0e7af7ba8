-- Does what is asked for a batch of deliveries: everything for those that are still ours, nothing for the others.
-- KEYS: worker, unacked, unacked_index, delayed, delayed:messages, dead letters, prefix of the delayed twins, journal, its state
-- ARGV: field, number       the batch's name: asked again, it answers again ('' for none)
--       guard               a lease that must not exist, or ''
--       database            the one to come back to
--       keep, all or waiting   whether deliveries are settled; the last takes those that were started for not ours
--       n, then n tags      '' is not fenced
--       sections: letter, count, then count times the fields below. Field `item` is a position in the tags.
--         T  list                                        must be a list
--         J  database, group key                         must be a chord's
--         R  item, key, value                            result; before the first: database, life in ms or ''
--         P  item, list, L or R, payload                 push
--         S  item                                        mark as started
--         U  item                                        mark as waiting again
--         A  item                                        settle, though the others are kept
--         D  item, due, id, message with its list        delay
--         X  item, id, key, 2 * fields, fields...        dead letter; its time is the server's
--         I  item, key, life in seconds                  count a death
--         K  item, key                                   forget the deaths
--         G  item, root, id, tag, end or again, pause in ms        leave the gate, see gate.lua
--         N  item                                        for the journal; before the first: the node, and a line for each
--         C  database, item, group key, task id, member, score, life in s or '', claim in s, token, parts more,
--            body
-- Returns '<number>|<items that were not ours>|<items whose claim holds>', or 'ALIVE', or 'STALE'.
local field, number = ARGV[1], ARGV[2]
if field ~= '' then
  local answered = call('HGET', KEYS[1], field)
  if answered then
    local last = tonumber(string.match(answered, '^%d+'))
    if last == tonumber(number) then return answered end
    if last > tonumber(number) then return 'STALE' end
  end
end
if ARGV[3] ~= '' and call('EXISTS', ARGV[3]) == 1 then return 'ALIVE' end
local home = ARGV[4]
local remove, only_waiting = ARGV[5] ~= 'keep', ARGV[5] == 'waiting'
local n = tonumber(ARGV[6])

local lost, any_lost = {}, false
local function lose(item)
  lost[item] = true
  any_lost = true
end
-- When everything is settled, removing the tags tells whether all were ours; only if not, each is looked at.
local by_removal = remove and not only_waiting
for i = 1, n do
  if ARGV[6 + i] == '' then by_removal = false end
end
if n > 0 and not by_removal then
  local scores = call('ZMSCORE', KEYS[3], unpack(ARGV, 7, 6 + n))
  local seen = {}
  for i = 1, n do
    local tag = ARGV[6 + i]
    if tag ~= '' then
      if not scores[i] or seen[tag] or only_waiting and tonumber(scores[i]) % 1 > 0.25 then lose(i) end
      seen[tag] = true
    end
  end
end

local database = home
local function select(wanted)
  if wanted ~= database then
    call('SELECT', wanted)
    database = wanted
  end
end

local width = { T = 1, J = 2, P = 4, S = 1, U = 1, A = 1, D = 4, I = 3, K = 2, G = 6, C = 11 }
local at = 7 + n
-- Whatever could refuse is asked before the first write, as there is no way back after it.
local function failed(err)
  select(home)
  return err
end
call('HLEN', KEYS[2])
while ARGV[at] == 'T' or ARGV[at] == 'J' do
  local kind, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, count do
    local wrong
    if kind == 'T' then
      wrong = check(ARGV[at], 'list')
    else
      select(ARGV[at])
      local group = ARGV[at + 1]
      wrong = check(group .. '.j', 'zset') or check(group .. '.d', 'set') or check(group .. '.t', 'string')
        or check(group .. '.s', 'string') or check(group .. '.c', 'string') or check(group .. '.b', 'string')
      select(home)
    end
    if wrong then return failed(wrong) end
    at = at + width[kind]
  end
end

-- A write that needs no memory goes first: a script that has written may go on when the memory is full, and ending
-- deliveries is what makes room.
if not by_removal then
  call('ZREM', KEYS[3], '')
elseif n > 0 and call('ZREM', KEYS[3], unpack(ARGV, 7, 6 + n)) ~= n then
  local seen = {}
  for i = 1, n do
    local tag = ARGV[6 + i]
    -- Both keys are always written together.
    if seen[tag] or call('HEXISTS', KEYS[2], tag) == 0 then lose(i) end
    seen[tag] = true
  end
end

local started, claimed = {}, {}
local now

local sections = {}
function sections.R(count)
  select(ARGV[at])
  local argv, life = ARGV, ARGV[at + 1]
  for a = at + 2, at + 3 * count - 1, 3 do
    if not (any_lost and lost[tonumber(argv[a])]) then store(argv[a + 1], argv[a + 2], life) end
  end
  select(home)
end
function sections.P(item, a)
  call(ARGV[a + 2] == 'L' and 'LPUSH' or 'RPUSH', ARGV[a + 1], ARGV[a + 3])
end
function sections.S(item, a)
  local tag = ARGV[6 + item]
  now = now or tonumber(call('TIME')[1])
  started[#started + 1] = now + 0.5
  started[#started + 1] = tag
end
function sections.U(item, a)
  now = now or tonumber(call('TIME')[1])
  started[#started + 1] = now
  started[#started + 1] = ARGV[6 + item]
end
function sections.A(item, a)
  call('HDEL', KEYS[2], ARGV[6 + item])
  call('ZREM', KEYS[3], ARGV[6 + item])
end
function sections.D(item, a)
  keep(KEYS[4], KEYS[5], KEYS[7], ARGV[a + 2], ARGV[6 + item], ARGV[a + 1], ARGV[a + 3])
end
function sections.I(item, a)
  call('INCR', ARGV[a + 1])
  call('EXPIRE', ARGV[a + 1], ARGV[a + 2])
end
function sections.K(item, a)
  call('DEL', ARGV[a + 1])
end
function sections.G(item, a)
  leave(ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5])
end
local function count_part(group, task, member, index, more)
  local mark = task .. ':' .. index
  if call('SISMEMBER', group .. '.d', mark) == 1 then return end
  call('ZADD', group .. '.j', index, member)
  call('SADD', group .. '.d', mark)
  if more ~= '0' then call('INCRBY', group .. '.t', more) end
end
-- A chord's part returns: celery/backends/redis.py, CHORD_PART_RETURN_LUA. A claim of the same task is one that its worker
-- died with: its redelivery takes the claim over.
function sections.C(item, a)
  select(ARGV[a])
  local group, own = ARGV[a + 2], ARGV[a + 3] .. ':'
  local holder = call('GET', group .. '.c')
  if holder == 'done' then
    -- Of an ended chord, or the first of one that is sent again: its producer forgets the end only when it sends the last.
    call('RPUSH', group .. '.p', ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 9])
    call('EXPIRE', group .. '.p', 300)
  else
    count_part(group, ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 9])
    if call('ZCARD', group .. '.j') == 1 then
      local early = call('LRANGE', group .. '.p', 0, -1)
      for i = 1, #early, 4 do count_part(group, early[i], early[i + 1], early[i + 2], early[i + 3]) end
      if #early > 0 then call('DEL', group .. '.p') end
    end
    if ARGV[a + 6] ~= '' then
      for _, suffix in ipairs({ '.j', '.t', '.s', '.d', '.b', '' }) do
        call('EXPIRE', group .. suffix, ARGV[a + 6])
      end
    end
    local size = tonumber(call('GET', group .. '.s') or nil)
    local more = tonumber(call('GET', group .. '.t') or '0')
    if size and call('ZCARD', group .. '.j') == size + (more or 0) then
      if not holder or string.sub(holder, 1, #own) == own then
        call('SET', group .. '.c', ARGV[a + 8], 'EX', ARGV[a + 7])
        claimed[#claimed + 1] = item - 1
      end
    elseif size and call('EXISTS', group .. '.b') == 0 then
      -- Ours, for whoever has to end a chord whose messages are gone. Celery, which may end it, leaves the key to its time.
      call('SET', group .. '.b', ARGV[a + 10], 'EX', ARGV[a + 6] ~= '' and ARGV[a + 6] or 604800)
    end
  end
  select(home)
end
local records, lines, node = 0, nil, nil
local function tell(count)
  node, lines, records = ARGV[at], ARGV[at + 1], count
  if not any_lost then return end
  local kept, a = {}, at + 2
  for line in string.gmatch(lines, '[^\n]+') do
    if not lost[tonumber(ARGV[a])] then kept[#kept + 1] = line end
    a = a + 1
  end
  lines, records = table.concat(kept, '\n'), #kept
end
local letters = 0
local function letter(item)
  local id, key, values = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  if not lost[item] then
    -- Time stands still within a script; a microsecond each keeps their order.
    local time = call('TIME')
    local died = string.format('%.6f', tonumber(time[1]) + (tonumber(time[2]) + letters) / 1000000)
    letters = letters + 1
    call('HSET', key, 'at', died, unpack(ARGV, at + 4, at + 3 + values))
    call('ZADD', KEYS[6], died, id)
  end
  at = at + 4 + values
end

while at <= #ARGV do
  local kind, count = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  if kind == 'X' then
    for _ = 1, count do letter(tonumber(ARGV[at])) end
  elseif kind == 'R' then
    sections.R(count)
    at = at + 2 + 3 * count
  elseif kind == 'N' then
    tell(count)
    at = at + 2 + count
  else
    local act, step = sections[kind], width[kind]
    local where = kind == 'C' and 1 or 0
    for _ = 1, count do
      local item = tonumber(ARGV[at + where])
      if not lost[item] then act(item, at) end
      at = at + step
    end
  end
end

if #started > 0 then call('ZADD', KEYS[3], 'XX', unpack(started)) end
if by_removal and n > 0 then
  call('HDEL', KEYS[2], unpack(ARGV, 7, 6 + n))
elseif remove and n > 0 then
  if any_lost then
    for i = 1, n do
      if not lost[i] then
        call('HDEL', KEYS[2], ARGV[6 + i])
        call('ZREM', KEYS[3], ARGV[6 + i])
      end
    end
  else
    call('HDEL', KEYS[2], unpack(ARGV, 7, 6 + n))
    call('ZREM', KEYS[3], unpack(ARGV, 7, 6 + n))
  end
end

if records > 0 then write_journal(KEYS[8], KEYS[9], node, lines, records) end

local losses = {}
if any_lost then
  for i = 1, n do
    if lost[i] then losses[#losses + 1] = i - 1 end
  end
end
local answer = number .. '|' .. table.concat(losses, ',') .. '|' .. table.concat(claimed, ',')
if field ~= '' then
  call('HSET', KEYS[1], field, answer)
  -- The worker may have been buried meanwhile: then nobody removes what is written here.
  call('EXPIRE', KEYS[1], 86400)
end
return answer
