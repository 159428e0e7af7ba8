-- What has changed after an edition.
-- KEYS: schedules, progress, changes, removed, edition
-- ARGV: edition, most entries
-- Returns {edition, more, entries as name, version, definition, progress, ...}, then the removed names.
local since = '(' .. ARGV[1]
local most = tonumber(ARGV[2])
local edition = redis.call('GET', KEYS[5]) or '0'
local found = redis.call('ZRANGEBYSCORE', KEYS[3], since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local more = '0'
if #found == 2 * most then
  -- The rest comes with the next question.
  more, edition = '1', found[#found]
end
local entries = {}
for i = 1, #found, 2 do
  entries[#entries + 1] = found[i]
  entries[#entries + 1] = found[i + 1]
  entries[#entries + 1] = redis.call('HGET', KEYS[1], found[i])
  entries[#entries + 1] = redis.call('HGET', KEYS[2], found[i]) or ''
end
local removed = redis.call('ZRANGEBYSCORE', KEYS[4], since, edition)
return { edition, more, entries, removed }
