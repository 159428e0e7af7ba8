-- Binds a queue that expires: its table is kept until the latest of such deadlines.
-- KEYS: table of the exchange, deadlines
-- ARGV: member, exchange, for how many milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], 'GT', string.format('%.0f', now + ARGV[3]), ARGV[2])
