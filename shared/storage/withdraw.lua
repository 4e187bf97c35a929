-- Take the ratings of some sources back. `outbox.lua` and `stored_ledger.lua` come before.
-- KEYS: 1 request hash. ARGV: 1 own id, 2 now, 3 outbox of the history ('' for none), 4 its bound,
--       5… sources ('' for users, else ':<source>').
-- Answers for each source the revision that the removal has, which is still to be applied, or
-- 0 where nothing is to be removed. Called again before that revision is applied, it answers the same.
local answers = {}
for at = 5, #ARGV do
  local source = ARGV[at]
  local ledger = 'applied:feedback' .. source
  local seen = redis.call('HMGET', KEYS[1], 'score' .. source, 'revision' .. source, ledger, ledger .. ':revision')
  local revision = tonumber(seen[2] or '0')
  if seen[1] then
    redis.call('HDEL', KEYS[1], 'score' .. source, 'text' .. source, 'rated_at' .. source, 'weight' .. source)
    revision = redis.call('HINCRBY', KEYS[1], 'revision' .. source, 1)
    remember(ARGV[3], ARGV[4], 'kind', 'rating' .. source, 'id', ARGV[1], 'revision', revision, 'rated_at', ARGV[2])
  end
  answers[#answers + 1] = revision > revision_of(seen[3], seen[4]) and revision or 0
end
return answers
