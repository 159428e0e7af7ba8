-- Takes a dead letter off the list; with a list of a queue, puts its message at that list's end first.
-- KEYS: dead letters, the letter
-- ARGV: id, list or ''
-- Returns 1, or 0 when there is no such letter.
local raw = redis.call('HGET', KEYS[2], 'raw')
if not raw then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
if ARGV[2] ~= '' then redis.call('LPUSH', ARGV[2], raw) end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
