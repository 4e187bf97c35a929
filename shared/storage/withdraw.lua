-- Take a rating back. KEYS: 1 request hash. Answers the revision that the removal has, which is still to be applied, or
-- 0 where nothing is to be removed. Called again before that revision is applied, it answers the same.
local seen = redis.call('HMGET', KEYS[1], 'score', 'revision', 'applied:feedback:revision')
if seen[1] then
  redis.call('HDEL', KEYS[1], 'score', 'text', 'rated_at')
  return redis.call('HINCRBY', KEYS[1], 'revision', 1)
end
local revision = tonumber(seen[2] or '0')
return revision > tonumber(seen[3] or '0') and revision or 0
