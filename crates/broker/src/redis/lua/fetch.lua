-- Takes up to ARGV[4] messages and records them as held, all or nothing.
-- KEYS: lease, worker, unacked, unacked_index, state of the journal
-- ARGV: worker id, epoch, first sequence number, most, how many to start, fair (1) or strict (0), number of queues,
--       then for each queue the end of its unacked entries, then for each step the queues' lists
-- Returns 'NOLEASE', 'STALE' (a fetch that its sender gave up), or {queue, {messages}, queue, {messages}, ...}, and at the
-- end a word while a journal is kept.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'NOLEASE' end
if (redis.call('HGET', KEYS[2], 'epoch') or '0') ~= ARGV[2] then return 'STALE' end

local worker, sequence, most, start = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local fair, queues = ARGV[6] == '1', tonumber(ARGV[7])
local first_list = 7 + queues
local steps = (#ARGV - first_list) / queues
local prefix = worker .. ':'
-- Python compares scores only, so the half second can tell started from waiting.
local waiting = redis.call('TIME')[1]
local running = waiting .. '.5'
local reply, entries, scores = {}, {}, {}
local popped_from = {}
local taken, bytes, failure = 0, 0, nil
-- After so many bytes it ends: nobody else is served meanwhile, and the answer has to fit into memory.
local most_bytes = 8 * 1024 * 1024

-- Few messages have a v before an a, so the first look is cheap; a quote or an l is everywhere.
local function is_suspect(message)
  return string.find(message, 'vage_deaths', 1, true) and string.find(message, '"lovage_deaths"', 1, true)
end

local function pop(list, queue, want)
  local got = redis.pcall('RPOP', list, want)
  if not got then return 0 end
  if got.err then failure = got; return 0 end
  local ending = ARGV[7 + queue]
  for i = 1, #got do
    local tag = prefix .. (sequence + taken)
    local at = 2 * taken + 1
    taken = taken + 1
    bytes = bytes + #got[i]
    entries[at], entries[at + 1] = tag, '[' .. got[i] .. ending
    local starts = taken <= start and not is_suspect(got[i])
    scores[at], scores[at + 1] = starts and running or waiting, tag
  end
  reply[#reply + 1] = queue
  reply[#reply + 1] = got
  popped_from[#popped_from + 1] = list
  return #got
end

-- What a message weighs is not known before it is popped: so a few are popped at a time, as many as fit if they are alike.
local function take(list, queue, want)
  local got = 0
  while got < want and bytes < most_bytes do
    local fit = taken == 0 and 4 or math.max(1, math.floor((most_bytes - bytes) * taken / (bytes + 1)))
    local portion = math.min(32, fit, want - got)
    local popped = pop(list, queue, portion)
    got = got + popped
    if popped < portion then break end
  end
  return got
end

for step = 0, steps - 1 do
  local drained, open = {}, queues
  while open > 0 and taken < most and bytes < most_bytes do
    local quota = fair and math.ceil((most - taken) / open) or most
    for queue = 1, queues do
      if not drained[queue] and taken < most then
        local want = math.min(quota, most - taken)
        if take(ARGV[first_list + step * queues + queue], queue, want) < want then
          drained[queue] = true
          open = open - 1
        end
      end
    end
  end
end

if taken == 0 then
  if failure then return failure end
  return reply
end

-- 500 pairs at a time: Lua's stack has room for a few thousand values.
local function in_chunks(command, key, values)
  for from = 1, #values, 1000 do
    local done = redis.pcall(command, key, unpack(values, from, math.min(from + 999, #values)))
    if type(done) == 'table' and done.err then return done end
  end
end
-- A sorted set of few short members is kept as one list, in which each insertion walks past all others: 100 of them cost a
-- hundred times what they cost in a tree. A member of more than 64 bytes makes it a tree, for as long as it has members.
local long = prefix .. string.rep('-', 65)
failure = in_chunks('HSET', KEYS[3], entries)
  or in_chunks('ZADD', KEYS[4], { waiting, long })
  or in_chunks('ZADD', KEYS[4], scores)
redis.pcall('ZREM', KEYS[4], long)
if failure then
  for i = 1, taken do
    redis.pcall('HDEL', KEYS[3], entries[2 * i - 1])
    redis.pcall('ZREM', KEYS[4], entries[2 * i - 1])
  end
  for i = #popped_from, 1, -1 do
    local messages = reply[2 * i]
    for m = #messages, 1, -1 do redis.call('RPUSH', popped_from[i], messages[m]) end
  end
  return failure
end
if redis.call('EXISTS', KEYS[5]) == 1 then reply[#reply + 1] = 'JOURNAL' end
return reply
