-- Ends a claimed chord: everything while the claim is ours, nothing otherwise.
-- KEYS: a key that remembers for a minute that this token was used
-- ARGV: home database, chord's database, group key, token, failed (1 or 0), number of pushes, (list, payload)...,
--       then (database, key, value, life in ms)... of the results
-- Returns 1, or 0 when somebody else has the claim.
local home, group, token = ARGV[1], ARGV[3], ARGV[4]
local pushes = tonumber(ARGV[6])
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
for i = 0, pushes - 1 do
  local wrong = check(ARGV[7 + 2 * i], 'list')
  if wrong then return wrong end
end
redis.call('SELECT', ARGV[2])
local holder = redis.call('GET', group .. '.c')
-- As celery/backends/redis.py, CHORD_CLAIM_EXTEND_LUA: a claim that ran out is still ours while nobody took it.
local ours = holder == token or (not holder and redis.call('EXISTS', group .. '.s') == 1)
if not ours then
  redis.call('SELECT', home)
  return 0
end
if ARGV[5] == '1' then
  redis.call('DEL', group .. '.s', group .. '.b')
else
  redis.call('DEL', group .. '.j', group .. '.t', group .. '.s', group .. '.d', group .. '.b')
  redis.call('SET', group .. '.c', 'done', 'EX', 300)
end
redis.call('SELECT', home)
for i = 0, pushes - 1 do redis.call('LPUSH', ARGV[7 + 2 * i], ARGV[8 + 2 * i]) end
local at, database = 7 + 2 * pushes, home
while at <= #ARGV do
  if ARGV[at] ~= database then
    redis.call('SELECT', ARGV[at])
    database = ARGV[at]
  end
  store(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  at = at + 4
end
redis.call('SELECT', home)
redis.call('SET', KEYS[1], '1', 'EX', 60)
return 1
