-- Puts messages that are due at the head of their lists.
-- KEYS: delayed, delayed:messages, prefix of the twins
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
  if move(KEYS[1], KEYS[2], KEYS[3], due[i]) then
    moved = moved + 1
  elseif ARGV[3] ~= 'all' then
    -- Tried again in a minute.
    redis.call('ZADD', KEYS[1], now + 60, due[i])
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { moved, first[2] and tostring(tonumber(first[2]) - now) or '' }
