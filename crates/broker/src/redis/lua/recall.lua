-- Puts the delayed messages of tasks at the head of their lists, due or not.
-- KEYS: delayed, delayed:messages, prefix of the twins
-- ARGV: 'ids' or 'members', then so many of them
-- Returns how many moved.
local moved = 0
if redis.call('EXISTS', KEYS[1]) == 0 then return moved end
local function recall(member)
  if redis.call('ZSCORE', KEYS[1], member) and move(KEYS[1], KEYS[2], KEYS[3], member) then moved = moved + 1 end
end
for i = 2, #ARGV do
  if ARGV[1] == 'ids' then
    for _, twin in ipairs(redis.call('SMEMBERS', KEYS[3] .. ARGV[i])) do recall(twin) end
  end
  recall(ARGV[i])
end
return moved
