-- Sends a message whose task holds a lock from now on, unless somebody else has it.
-- KEYS: list, unacked, unacked_index, delayed, delayed:messages
-- ARGV: root, lock, id, mode, life of a waiting lock and of one for a time in ms, payload
-- Returns '', or the id of the holder.
local root, lock, id = ARGV[1], ARGV[2], ARGV[3]
local owner = holder(root, lock, id)
if owner then return owner end
local kind = call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'list' then
  return { err = 'WRONGTYPE the key ' .. KEYS[1] .. ' is a ' .. kind .. ', not a list' }
end
-- Asked again after a lost answer: it is sent already.
if call('HGET', root .. lock, 'owner') == id then return '' end
take_lock(root, lock, id, '', '0', ARGV[4], ARGV[5], ARGV[6])
call('HSET', root .. 'gate:' .. id, 'lock', lock, 'mode', ARGV[4], 'waiting', ARGV[5])
call('EXPIRE', root .. 'gate:' .. id, KEEP)
call('LPUSH', KEYS[1], ARGV[7])
return ''
