-- Store a rating and tell the learner. `outbox.lua`, `announce.lua` and `traffic.lua` come before.
-- KEYS: 1 events, 2 rate of this minute, 3 idempotency key, 4… aliases to try.
-- ARGV: 1 id as the client gave it, 2 owner ('' for anybody), 3 score, 4 text, 5 '1' if there is a text, 6 now,
--       7 window in s, 8 lifetime in ms, 9 source ('' for users, else ':<source>'), 10 what the keys of requests start with,
--       11 most ratings a minute (0 for no limit), 12 fingerprint of the rating ('' without an idempotency key),
--       13 '1' for a signed link: the id is our own and certain, and the link works once,
--       14 outbox of the history ('' for none), 15 its bound, 16 weight,
--       17 what the keys of minutes start with, 18 the same of hours, 19 days that these are kept (0 for none).
-- Answers: accepted, revised, duplicate, unknown, expired, not_rateable, limited, key_reused, link_used.
if ARGV[11] ~= '0' and tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[11]) then return 'limited' end
-- Only what is judged counts: `unknown` may be a record that is on its way, and the client is told to come again.
local function judged(verdict)
  if ARGV[11] ~= '0' and redis.pcall('INCR', KEYS[2]) == 1 then redis.call('PEXPIRE', KEYS[2], 120000) end
  return verdict
end
if ARGV[12] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local fingerprint, verdict = string.match(before, '^(%x+):([a-z]+)$')
    return judged(fingerprint == ARGV[12] and verdict or 'key_reused')
  end
end
-- What is refused below is not kept: it may well be right the next time.
local function took(verdict)
  if ARGV[12] ~= '' then redis.call('SET', KEYS[3], ARGV[12] .. ':' .. verdict, 'PX', 86400000) end
  return judged(verdict)
end

local own
for at = 4, #KEYS do
  own = own or redis.call('GET', KEYS[at])
end
local reserved = (own or ARGV[13] == '1') and true or false
-- The key is made here because only the alias says which it is; it shares the hash tag of all others.
own = string.gsub(own or ARGV[1], '!$', '')
local key = ARGV[10] .. own
local seen = redis.call('HMGET', key, 'owner', 'status', 'created_at', 'revision' .. ARGV[9], 'score' .. ARGV[9],
  'text' .. ARGV[9], 'link_used', 'weight' .. ARGV[9], 'arm')
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
  return judged('not_rateable')
end
if tonumber(ARGV[6]) - created_at > tonumber(ARGV[7]) then return judged('expired') end
if ARGV[13] == '1' then
  if seen[7] then return judged('link_used') end
  redis.call('HSET', key, 'link_used', '1')
end

local text = ARGV[5] == '1' and ARGV[4]
local same = seen[5] == ARGV[3] and seen[6] == text and (seen[8] or '1.0') == ARGV[16]
if seen[4] and same then return took('duplicate') end
local revision = redis.call('HINCRBY', key, 'revision' .. ARGV[9], 1)
redis.call('HSET', key, 'score' .. ARGV[9], ARGV[3], 'rated_at' .. ARGV[9], ARGV[6])
if text then redis.call('HSET', key, 'text' .. ARGV[9], text) else redis.call('HDEL', key, 'text' .. ARGV[9]) end
if ARGV[9] ~= '' then redis.call('HSET', key, 'weight' .. ARGV[9], ARGV[16]) end
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[8]) end
remember(ARGV[14], ARGV[15], 'kind', 'rating' .. ARGV[9], 'id', own, 'revision', revision, 'score', ARGV[3],
  'rated_at', ARGV[6], 'worded', ARGV[5], 'text', ARGV[4], 'weight', ARGV[16])
announce(KEYS[1], own, ARGV[9], revision, ARGV[3], ARGV[16])
if seen[9] then tally(ARGV[17], ARGV[18], ARGV[19], created_at, seen[9], ARGV[9], ARGV[3], seen[5]) end
return took(seen[5] and 'revised' or 'accepted')
