-- Delayed messages. `delayed`, `messages` and `twins` are the keys of delayed, delayed:messages, and the prefix of the twins: a
-- task's first message is kept under its id; a second one under id, NUL and tag, noted with the id's twins.

-- Keeps a message, with its list in front of it, until it is due. Returns the member under which it stands.
local function keep(delayed, messages, twins, id, tag, due, message)
  local member = id
  if redis.call('HSETNX', messages, member, message) == 0 then
    member = id .. '\0' .. tag
    redis.call('SADD', twins .. id, member)
    redis.call('HSET', messages, member, message)
  end
  redis.call('ZADD', delayed, due, member)
  return member
end

-- Puts one message at the head of its list. False when something else has taken the list's name: the message is kept.
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
