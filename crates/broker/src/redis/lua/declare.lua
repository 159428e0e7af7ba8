-- Makes queues known: binds each to the exchange of its own name.
-- KEYS: for each queue the table of its exchange's bindings, and that of those that never expire
-- ARGV: the member of each queue
-- A write that needs no memory goes first: when the memory is full a new worker may still start, and make room.
redis.call('SREM', KEYS[1], '')
for i = 1, #ARGV do
  redis.call('SADD', KEYS[2 * i - 1], ARGV[i])
  redis.call('SADD', KEYS[2 * i], ARGV[i])
end
