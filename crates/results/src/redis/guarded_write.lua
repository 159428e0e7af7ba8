-- Stores and announces one record, unless a SUCCESS stands there.
-- KEYS[1] the result key. ARGV: record, life in seconds (0: for ever), the record known to be no SUCCESS.
-- Returns 1 written, 0 left as it was, or the present record when it must be looked at by the caller:
-- a compressed one, or one in another serializer than JSON, cannot be read here.
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[3] then
  if string.find(current, '^{"status": ?"SUCCESS"') then
    return 0
  elseif not string.find(current, '^{"status": ?"') then
    return current
  end
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
