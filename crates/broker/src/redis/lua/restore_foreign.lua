-- Puts messages back that a Python worker held for too long, if it still does.
-- KEYS: unacked, unacked_index
-- ARGV: n, latest score, then n times: tag, entry as it was read, payload, number of lists, lists...
-- Returns how many were put back.
local restored, a = 0, 3
for _ = 1, tonumber(ARGV[1]) do
  local tag, lists = ARGV[a], tonumber(ARGV[a + 3])
  local score = redis.call('ZSCORE', KEYS[2], tag)
  local overdue = score and tonumber(score) <= tonumber(ARGV[2])
  -- Tags of Python outlive a redelivery, so the entry may be another delivery's by now.
  if overdue and redis.call('HGET', KEYS[1], tag) == ARGV[a + 1] then
    for i = a + 4, a + 3 + lists do
      local kind = redis.call('TYPE', ARGV[i]).ok
      if kind ~= 'none' and kind ~= 'list' then overdue = false end
    end
    if overdue then
      redis.call('ZREM', KEYS[2], tag)
      redis.call('HDEL', KEYS[1], tag)
      for i = a + 4, a + 3 + lists do redis.call('RPUSH', ARGV[i], ARGV[a + 2]) end
      restored = restored + 1
    end
  end
  a = a + 4 + lists
end
return restored
