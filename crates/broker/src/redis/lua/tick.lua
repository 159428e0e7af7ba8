-- Makes ticks happen, each whole or not at all.
-- KEYS: leader, schedules, progress, changes
-- ARGV: owner, fence, length of the history, most spans, then of each tick: name, version, progress before, progress after,
--   history, past or '' when no span ends, number of records, these, number of messages, these as list and payload
-- Returns 'FENCED', or of each tick: done, changed, refused.
local leader = redis.call('HMGET', KEYS[1], 'owner', 'fence')
if leader[1] ~= ARGV[1] or leader[2] ~= ARGV[2] then return 'FENCED' end
local keep = tonumber(ARGV[3])
local most = ARGV[4]
local at = 5
local function take()
  at = at + 1
  return ARGV[at - 1]
end

local answers = {}
while ARGV[at] do
  local name, version, before, after, history, past = take(), take(), take(), take(), take(), take()
  local records, lists, payloads = {}, {}, {}
  for i = 1, tonumber(take()) do records[i] = take() end
  local refused = false
  for i = 1, tonumber(take()) do
    lists[i], payloads[i] = take(), take()
    local kind = redis.call('TYPE', lists[i]).ok
    refused = refused or (kind ~= 'none' and kind ~= 'list')
  end
  local current = redis.call('HGET', KEYS[3], name)
  local same = redis.call('HEXISTS', KEYS[2], name) == 1
    and tonumber(redis.call('ZSCORE', KEYS[4], name)) == tonumber(version)
  local answer
  if same and current == after and before ~= after then
    -- Asked again after a lost answer.
    answer = 'done'
  elseif not same or current ~= before then
    answer = 'changed'
  elseif refused then
    answer = 'refused'
  else
    if past ~= '' then lengthen(past, most, redis.call('HGET', KEYS[2], name), before) end
    redis.call('HSET', KEYS[3], name, after)
    for i, list in ipairs(lists) do redis.call('LPUSH', list, payloads[i]) end
    for _, record in ipairs(records) do redis.call('LPUSH', history, record) end
    if #records > 0 then redis.call('LTRIM', history, 0, keep - 1) end
    answer = 'done'
  end
  answers[#answers + 1] = answer
end
return answers
