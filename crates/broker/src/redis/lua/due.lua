-- Puts messages that are due at the head of their lists.
-- KEYS: delayed, delayed:messages
-- ARGV: most, bytes after which it ends, '' for those that are due or 'all' for every one
-- Returns {how many moved, seconds until the next is due as text, '' for none}.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3] == 'all' and '+inf' or now, 'LIMIT', 0, ARGV[1])
local last, bytes, moved = 0, 0, 0
while last < #due and bytes < tonumber(ARGV[2]) do
  last = last + 1
  bytes = bytes + redis.call('HSTRLEN', KEYS[2], due[last])
end
-- The one due first is pushed last, to be popped first.
for i = last, 1, -1 do
  local message = redis.call('HGET', KEYS[2], due[i])
  local postponed = false
  if message then
    local _, stop, length = string.find(message, '^(%d+):')
    if stop then
      length = tonumber(length)
      local list = string.sub(message, stop + 1, stop + length)
      local pushed = redis.pcall('RPUSH', list, string.sub(message, stop + length + 1))
      -- Something else has taken the list's name. The message is kept, and tried again in a minute.
      if type(pushed) == 'table' and pushed.err then postponed = true end
    end
  end
  if postponed then
    if ARGV[3] ~= 'all' then redis.call('ZADD', KEYS[1], now + 60, due[i]) end
  else
    moved = moved + 1
    redis.call('ZREM', KEYS[1], due[i])
    redis.call('HDEL', KEYS[2], due[i])
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { moved, first[2] and tostring(tonumber(first[2]) - now) or '' }
