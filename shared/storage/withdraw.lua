-- Take a rating back. KEYS: 1 request hash. ARGV: 1 own id, 2 now, 3 outbox of the history ('' for none), 4 its bound.
-- Answers the revision that the removal has, which is still to be applied, or
-- 0 where nothing is to be removed. Called again before that revision is applied, it answers the same.
local seen = redis.call('HMGET', KEYS[1], 'score', 'revision', 'applied:feedback:revision')
if seen[1] then
  redis.call('HDEL', KEYS[1], 'score', 'text', 'rated_at')
  local taken_back = redis.call('HINCRBY', KEYS[1], 'revision', 1)
  remember(ARGV[3], ARGV[4], 'kind', 'rating', 'id', ARGV[1], 'revision', taken_back, 'rated_at', ARGV[2])
  return taken_back
end
local revision = tonumber(seen[2] or '0')
return revision > tonumber(seen[3] or '0') and revision or 0
