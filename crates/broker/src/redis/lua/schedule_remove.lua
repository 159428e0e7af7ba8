-- Removes an entry.
-- KEYS: schedules, progress, changes, removed, edition, its history, its past
-- ARGV: name, how many removed names are remembered
-- Returns 1, or 0 when there is none.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[6], KEYS[7])
redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[5]), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - tonumber(ARGV[2]))
return 1
