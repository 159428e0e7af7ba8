-- Reads what a fetch took whose answer was lost, and makes sure that it takes nothing from now on.
-- KEYS: worker, unacked, unacked_index
-- ARGV: worker id, new epoch, first sequence number, how many
-- Returns {number, entry, score, number, entry, score, ...}.
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
redis.call('EXPIRE', KEYS[1], 86400)
local tags, first = {}, tonumber(ARGV[3])
for i = 0, tonumber(ARGV[4]) - 1 do tags[#tags + 1] = ARGV[1] .. ':' .. (first + i) end
local reply = {}
for from = 1, #tags, 1000 do
  local to = math.min(from + 999, #tags)
  local entries = redis.call('HMGET', KEYS[2], unpack(tags, from, to))
  local scores = redis.call('ZMSCORE', KEYS[3], unpack(tags, from, to))
  for i = 1, #entries do
    if entries[i] and scores[i] then
      reply[#reply + 1] = first + from - 2 + i
      reply[#reply + 1] = entries[i]
      reply[#reply + 1] = scores[i]
    end
  end
end
return reply
