-- Puts one delayed message at the head of its list. Expects delayed, delayed:messages and the prefix of the twins as its
-- keys. A task's first message is kept under its id; a second one under id, NUL and tag, noted with the id's twins.
-- False when something else has taken the list's name: the message is kept.
local function move(delayed, messages, twins, member)
  local message = redis.call('HGET', messages, member)
  if message then
    local _, stop, length = string.find(message, '^(%d+):')
    if stop then
      length = tonumber(length)
      local list = string.sub(message, stop + 1, stop + length)
      local pushed = redis.pcall('RPUSH', list, string.sub(message, stop + length + 1))
      if type(pushed) == 'table' and pushed.err then return false end
    end
  end
  redis.call('ZREM', delayed, member)
  redis.call('HDEL', messages, member)
  local id = string.match(member, '^(.*)%z')
  if id then redis.call('SREM', twins .. id, member) end
  return true
end
