-- Looks through a portion of the delayed messages for those that contain a text.
-- KEYS: delayed:messages
-- ARGV: cursor, about how many, then texts
-- Returns {next cursor, member, message, member, message, ...}.
local portion = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local found = { portion[1] }
for i = 1, #portion[2], 2 do
  for text = 3, #ARGV do
    if string.find(portion[2][i + 1], ARGV[text], 1, true) then
      found[#found + 1] = portion[2][i]
      found[#found + 1] = portion[2][i + 1]
      break
    end
  end
end
return found
