-- Note that a point has been written. KEYS: 1 unindexed, 2 request hash. ARGV: 1 own id, 2 revision written, 3 now.
-- Answers 1 if the request was rated anew meanwhile: then its point is due again, whoever has crossed it off.
local revision = redis.call('HGET', KEYS[2], 'revision')
if redis.call('EXISTS', KEYS[2]) == 1 and tonumber(revision or '0') ~= tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[1])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
