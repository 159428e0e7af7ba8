-- Writes what became of tasks into the journal, while somebody keeps one. Nothing here stops a task: what cannot be written
-- has been counted, so its reader finds so many missing.
-- state: epoch, cap in bytes, records and bytes ever written, and low: of the bytes those that are gone already
local function write_journal(stream, state, node, text, count)
  local known = call('HMGET', state, 'cap', 'low')
  if not known[1] then return end
  local records = redis.pcall('HINCRBY', state, 'records', count)
  -- What an entry takes beside its text, in round numbers.
  local bytes = redis.pcall('HINCRBY', state, 'bytes', #text + 150)
  if type(bytes) == 'table' then return end
  local written = redis.pcall('XADD', stream, '*', 'n', records, 'b', bytes, 'w', node, 'r', text)
  if type(written) == 'table' and written.err then return end
  if call('XLEN', stream) == 1 then call('PEXPIRE', stream, math.max(1, call('PTTL', state))) end
  local low, cap = known[2], tonumber(known[1])
  if bytes - tonumber(low) <= cap then return end
  -- An eighth at a time, and not much in one step.
  for _ = 1, 32 do
    local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not oldest or bytes - tonumber(low) <= cap - cap / 8 then break end
    low = oldest[2][4]
    call('XDEL', stream, oldest[1])
  end
  call('HSET', state, 'low', low)
end
