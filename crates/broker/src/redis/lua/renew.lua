-- Writes a lease and what is known of its holder. In one step: whoever holds a lease must be among the workers whose lease
-- is looked at.
-- KEYS: lease, workers, worker, then the table of each member, then the state of the journal
-- ARGV: node, lease in ms, worker id, queues, tasks, estate, then members: of the queues that are its own
-- Returns 1 while a journal is kept.
-- A write that needs no memory goes first: a script that has written may go on when the memory is full, and workers that
-- keep their leases are what makes room.
redis.call('ZREM', KEYS[2], '')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[3])
redis.call('HSET', KEYS[3], 'node', ARGV[1], 'queues', ARGV[4], 'tasks', ARGV[5])
-- Each time: whoever took this worker for dead has taken them out.
if ARGV[6] ~= '' then redis.call('HSET', KEYS[3], 'estate', ARGV[6]) end
for i = 7, #ARGV do redis.call('SADD', KEYS[i - 3], ARGV[i]) end
-- The record of a worker that nobody buries goes by itself.
redis.call('EXPIRE', KEYS[3], 86400)
return redis.call('EXISTS', KEYS[#KEYS])
