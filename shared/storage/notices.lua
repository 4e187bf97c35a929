-- Say what one gateway has to say, and read what the others have said.
-- KEYS: 1 notices. ARGV: 1 gateway, 2 what it says ('' to say nothing any more), 3 lifetime in ms.
-- Answers: gateway, age in ms, what it says, … Ages are by the clock of Redis: those of the gateways may differ.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HDEL', KEYS[1], ARGV[1])
local said = {}
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local when, what = string.match(all[at + 1], '^(%d+) (.*)$')
  local age = when and math.max(0, now - tonumber(when))
  if age and age <= tonumber(ARGV[3]) then
    said[#said + 1] = all[at]
    said[#said + 1] = tostring(age)
    said[#said + 1] = what
  else
    redis.call('HDEL', KEYS[1], all[at])
  end
end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return said
