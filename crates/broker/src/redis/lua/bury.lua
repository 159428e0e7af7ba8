-- Removes what is left of a dead worker, unless it lives again.
-- KEYS: lease, workers, worker, then the table of each member to take out, then lists to delete
-- ARGV: worker id, then the members
if redis.call('EXISTS', KEYS[1]) == 1 then return end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
for i = 2, #ARGV do redis.call('SREM', KEYS[2 + i], ARGV[i]) end
for i = 3 + #ARGV, #KEYS do redis.call('DEL', KEYS[i]) end
