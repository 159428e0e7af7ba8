-- Sends what was due in a time that has passed, whole or not at all.
-- KEYS: schedules, changes, its past, its history
-- ARGV: name, version, number of its last span, length of the history, most spans, the span's definition, its progress,
--   number of records, these, then lists and payloads in turn
-- Returns done, changed, outdated or refused.
local version = redis.call('ZSCORE', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 or tonumber(version) ~= tonumber(ARGV[2]) then return 'changed' end
local number = past_number(KEYS[3])
if number == tonumber(ARGV[3]) + 1 and redis.call('LINDEX', KEYS[3], -1) == ARGV[7]
  and redis.call('LINDEX', KEYS[3], -2) == ARGV[6] then
  -- Asked again after a lost answer.
  return 'done'
end
if number ~= tonumber(ARGV[3]) then return 'outdated' end
local messages = 9 + tonumber(ARGV[8])
for i = messages, #ARGV, 2 do
  local kind = redis.call('TYPE', ARGV[i]).ok
  if kind ~= 'none' and kind ~= 'list' then return 'refused' end
end
lengthen(KEYS[3], ARGV[5], ARGV[6], ARGV[7])
for i = messages, #ARGV, 2 do redis.call('LPUSH', ARGV[i], ARGV[i + 1]) end
for i = 9, messages - 1 do redis.call('LPUSH', KEYS[4], ARGV[i]) end
redis.call('LTRIM', KEYS[4], 0, tonumber(ARGV[4]) - 1)
return 'done'
