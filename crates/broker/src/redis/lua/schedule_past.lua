-- The past of entries: a list of their spans, each as its number, definition and progress.
-- Begins every script that lengthens it.
local function past_number(past) return tonumber(redis.call('LINDEX', past, -3) or 0) end
local function lengthen(past, most, definition, progress)
  if not definition or not progress or progress == '' then return end
  redis.call('RPUSH', past, past_number(past) + 1, definition, progress)
  redis.call('LTRIM', past, -3 * tonumber(most), -1)
end
