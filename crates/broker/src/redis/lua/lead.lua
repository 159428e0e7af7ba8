-- Takes or prolongs the lead.
-- KEYS: leader, fence, edition
-- ARGV: owner, about, lease in milliseconds
-- Returns {fence or 0, about, edition}.
local edition = redis.call('GET', KEYS[3]) or '0'
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return { '0', redis.call('HGET', KEYS[1], 'about'), edition }
end
if not owner then redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fence', redis.call('INCR', KEYS[2])) end
redis.call('HSET', KEYS[1], 'about', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { redis.call('HGET', KEYS[1], 'fence'), ARGV[2], edition }
