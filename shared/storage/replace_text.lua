-- Replace a string if it still is what the caller has read. An empty text means no key.
-- KEYS: 1 the string. ARGV: 1 what was read, 2 what to write. Answers 1, or 0 where it was changed meanwhile.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
