-- Has a journal written from now on, and for as long as given without another word.
-- KEYS: journal, its state
-- ARGV: the epoch if it begins now, cap in bytes, life in ms
-- Returns the epoch.
local call = redis.call
if call('HSETNX', KEYS[2], 'epoch', ARGV[1]) == 1 then
  call('DEL', KEYS[1])
  call('HSET', KEYS[2], 'records', 0, 'bytes', 0, 'low', 0)
end
call('HSET', KEYS[2], 'cap', ARGV[2])
call('PEXPIRE', KEYS[1], ARGV[3])
call('PEXPIRE', KEYS[2], ARGV[3])
return call('HGET', KEYS[2], 'epoch')
