-- Store a rating and tell the learner.
-- KEYS: 1 events, 2… aliases to try, best first.
-- ARGV: 1 id as the client gave it, 2 owner ('' for anybody), 3 score, 4 text, 5 '1' if there is a text, 6 now,
--       7 window in s, 8 lifetime in ms, 9 event version, 10 what the keys of requests start with.
-- Answers: accepted, revised, duplicate, unknown, expired, not_rateable.
local own
for at = 2, #KEYS do
  own = own or redis.call('GET', KEYS[at])
end
local reserved = own and true or false
-- The key is made here because only the alias says which it is; it shares the hash tag of all others.
own = string.gsub(own or ARGV[1], '!$', '')
local key = ARGV[10] .. own
local seen = redis.call('HMGET', key, 'owner', 'status', 'created_at', 'revision', 'score', 'text')
local owner, status, created_at = seen[1], seen[2], tonumber(seen[3] or '')

if not created_at then
  if not reserved then return 'unknown' end
  -- Not yet written: own ids are UUIDv7, whose first 48 bits are the time at which the id was claimed.
  local stamp = tonumber(string.gsub(string.sub(own, 1, 13), '-', ''), 16)
  if not stamp then return 'unknown' end
  created_at = stamp / 1000
elseif ARGV[2] ~= '' and owner ~= ARGV[2] then
  return 'unknown'
elseif status ~= 'answered' then
  return 'not_rateable'
end
if tonumber(ARGV[6]) - created_at > tonumber(ARGV[7]) then return 'expired' end

local text = ARGV[5] == '1' and ARGV[4]
if seen[4] and seen[5] == ARGV[3] and seen[6] == text then return 'duplicate' end
local revision = redis.call('HINCRBY', key, 'revision', 1)
redis.call('HSET', key, 'score', ARGV[3], 'rated_at', ARGV[6])
if text then redis.call('HSET', key, 'text', text) else redis.call('HDEL', key, 'text') end
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[8]) end
redis.call('XADD', KEYS[1], '*', 'v', ARGV[9], 'kind', 'feedback', 'id', own, 'revision', revision, 'score', ARGV[3])
return revision == 1 and 'accepted' or 'revised'
