-- Publishes messages that were not published before, by the marks that they leave.
-- KEYS: marks, the highest number seen
-- ARGV: number, seconds that a mark is kept, how many marks to forget, those marks,
--       then for each message: mark, payload, how many lists, those lists
-- Returns 'done' and how many were published, or 'fence' and the higher number.
local number = tonumber(ARGV[1])
local seen = tonumber(redis.call('GET', KEYS[2]) or '0')
if number < seen then return {'fence', seen} end
if number > seen then redis.call('SET', KEYS[2], ARGV[1]) end
local now = tonumber(redis.call('TIME')[1])
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  redis.call('ZREM', KEYS[1], ARGV[at])
  at = at + 1
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
local published = 0
while at <= #ARGV do
  local mark, payload, lists = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  at = at + 3
  if redis.call('ZADD', KEYS[1], 'NX', now, mark) == 1 then
    for list = at, at + lists - 1 do redis.call('LPUSH', ARGV[list], payload) end
    published = published + 1
  end
  at = at + lists
end
return {'done', published}
