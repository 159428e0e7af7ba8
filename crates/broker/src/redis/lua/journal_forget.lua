-- Drops what was read and is kept elsewhere.
-- KEYS: journal, its state
-- ARGV: the epoch of who has read it, the first id to stay, the bytes written up to there
local call = redis.call
if call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then return 0 end
call('XTRIM', KEYS[1], 'MINID', ARGV[2])
if tonumber(call('HGET', KEYS[2], 'low')) < tonumber(ARGV[3]) then call('HSET', KEYS[2], 'low', ARGV[3]) end
return 1
