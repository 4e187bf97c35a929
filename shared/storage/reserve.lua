-- Claim a public id. KEYS: 1 alias. ARGV: 1 own id, 2 lifetime in ms.
-- The value is the own id, with "!" behind it once that request has failed: then anybody of this owner may claim it.
local taken = redis.call('GET', KEYS[1])
if taken and taken ~= ARGV[1] and string.sub(taken, -1) ~= '!' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
