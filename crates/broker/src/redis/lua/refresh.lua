-- Moves the scores of held deliveries to now, so that Python workers do not take them for abandoned.
-- KEYS: unacked_index
-- ARGV: tags
local now = tonumber(redis.call('TIME')[1])
for i = 1, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  -- The half second says that it was started.
  if score then redis.call('ZADD', KEYS[1], 'XX', now + tonumber(score) % 1, ARGV[i]) end
end
