-- Makes or changes an entry.
-- KEYS: schedules, progress, changes, removed, edition, its past
-- ARGV: name, version or '', definition, progress or '', most spans
-- Returns the new version, or 0 when it is not as the change says.
local name = ARGV[1]
local version = redis.call('ZSCORE', KEYS[3], name)
local current = redis.call('HGET', KEYS[1], name)
if current == ARGV[3] and (ARGV[4] == '' or redis.call('HGET', KEYS[2], name) == ARGV[4]) then
  -- It is so already: asked again after a lost answer.
  return tonumber(version)
end
if ARGV[2] == '' then
  if current then return 0 end
elseif not current or tonumber(version) ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[4] ~= '' then lengthen(KEYS[6], ARGV[5], current, redis.call('HGET', KEYS[2], name)) end
local edition = redis.call('INCR', KEYS[5])
redis.call('HSET', KEYS[1], name, ARGV[3])
redis.call('ZADD', KEYS[3], edition, name)
redis.call('ZREM', KEYS[4], name)
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], name, ARGV[4]) end
return edition
