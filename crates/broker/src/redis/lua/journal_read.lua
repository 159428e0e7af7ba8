-- Reads the journal from one place on.
-- KEYS: journal, its state
-- ARGV: where from, as XRANGE takes it; so many bytes are enough; so many entries at most
-- Returns nothing without a journal, else {epoch, records ever written, {entries}}.
local call = redis.call
local known = call('HMGET', KEYS[2], 'epoch', 'records')
if not known[1] then return {} end
local found, bytes, from = {}, 0, ARGV[1]
local enough, most = tonumber(ARGV[2]), tonumber(ARGV[3])
while bytes < enough and #found < most do
  local some = call('XRANGE', KEYS[1], from, '+', 'COUNT', 8)
  for i = 1, #some do
    found[#found + 1] = some[i]
    bytes = bytes + #some[i][2][8]
    from = '(' .. some[i][1]
  end
  if #some < 8 then break end
end
return { known[1], known[2], found }
