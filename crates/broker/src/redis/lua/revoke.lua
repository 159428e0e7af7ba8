-- Records revocations and tells everybody who listens.
-- KEYS: revoked, revoked:terminate
-- ARGV: life in seconds, most, channel, signal or '', life of a termination in seconds, then targets
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local stamp = time[1] .. '.' .. string.format('%06d', time[2])
for i = 6, #ARGV do
  redis.call('ZADD', KEYS[1], stamp, ARGV[i])
  if ARGV[4] ~= '' then redis.call('ZADD', KEYS[2], stamp, ARGV[4] .. ' ' .. ARGV[i]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.6f', now - tonumber(ARGV[1])))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.6f', now - tonumber(ARGV[5])))
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[3], '')
