-- Store one finished request and tell the learner. `outbox.lua`, `announce.lua` and `traffic.lua` come before.
-- KEYS: 1 request hash, 2 alias, 3 owners (2 again for requests without a key), 4 events, 5 explored,
--       6 rate, 7 spent, 8 the request whose own id is this one's public id (1 again where that cannot be), 9 story,
--       10 vector, from 11 on: sessions and tool calls that stay with the arm.
-- ARGV: 1 own id, 2 story, 3 vector ('' for none), 4 owner, 5 status, 6 created_at, 7 lifetime in ms, 8 event version,
--       9 the last answer of its sessions, 10 what exploring has cost (1e-9 USD, whole),
--       11 outbox of the history ('' for none), 12 its bound, 13 the prompt, where it is kept ('' for none),
--       14 tokens and 15 cost (1e-9 USD) beyond what was reserved ('' for nothing to settle),
--       16 steps of its session ('' for none: no session, or no whole answer), 17 how many are kept,
--       18 how many requests are listed (0 for none), 19 list of all requests, 20 list of its owner's,
--       21 arm, 22 what the keys of minutes start with, 23 the same of hours, 24 days that these are kept (0 for none),
--       25 belief that a rating is learned with ('' for none), 26 '1' where the public id is the own id,
--       27 model that made the vector ('' for none).
-- Answers 1 where the request is new.
local rated = redis.call('HLEN', KEYS[1]) > 0
if rated and redis.call('HEXISTS', KEYS[1], 'status') == 1 then return 0 end
local needed = { 'owner', ARGV[4], 'status', ARGV[5], 'created_at', ARGV[6], 'arm', ARGV[21] }
for name, value in pairs({ belief = ARGV[25], embedding_model = ARGV[27] }) do
  if value ~= '' then
    needed[#needed + 1] = name
    needed[#needed + 1] = value
  end
end
redis.call('HSET', KEYS[1], unpack(needed))
redis.call('PEXPIRE', KEYS[1], ARGV[7])
-- In keys of their own: they go before the hash does, and the hash stays small. Until then they live as long.
redis.call('SET', KEYS[9], ARGV[2], 'PX', ARGV[7])
if ARGV[3] ~= '' then redis.call('SET', KEYS[10], ARGV[3], 'PX', ARGV[7]) end

local known = ARGV[1]
if ARGV[5] == 'failed' then known = known .. '!' end
local holder = redis.call('GET', KEYS[2])
-- Another request may hold the id, if it was claimed while Redis was away: it keeps it. So does one whose own id it is.
local free = not holder and (KEYS[8] == KEYS[1] or redis.call('EXISTS', KEYS[8]) == 0)
if free or holder == ARGV[1] then
  if ARGV[26] == '1' and known == ARGV[1] then
    redis.call('DEL', KEYS[2]) -- an own id is found without an alias
  else
    redis.call('SET', KEYS[2], known, 'PX', ARGV[7])
  end
end
if KEYS[3] ~= KEYS[2] then redis.pcall('SADD', KEYS[3], ARGV[4]) end

for at = 11, #KEYS do redis.call('SET', KEYS[at], ARGV[9], 'PX', 86400000) end
if ARGV[10] ~= '0' then
  redis.call('INCRBY', KEYS[5], ARGV[10])
  redis.call('PEXPIRE', KEYS[5], 172800000)
end

-- Not stopping at a damaged counter or list: there is no rollback, and the event below must not be lost.
if ARGV[14] ~= '' and redis.call('EXISTS', KEYS[6]) == 1 then
  redis.pcall('HINCRBYFLOAT', KEYS[6], 'tokens', -tonumber(ARGV[14]))
end
if ARGV[16] ~= '' then
  redis.pcall('RPUSH', ARGV[16], ARGV[1])
  redis.pcall('LTRIM', ARGV[16], -ARGV[17], -1)
  redis.pcall('PEXPIRE', ARGV[16], ARGV[7])
end
for at = 19, ARGV[18] ~= '0' and 20 or 0 do
  redis.pcall('ZADD', ARGV[at], 0, ARGV[1])
  redis.pcall('ZREMRANGEBYRANK', ARGV[at], 0, -(ARGV[18] + 1))
  redis.pcall('PEXPIRE', ARGV[at], ARGV[7])
end
if ARGV[15] ~= '' then
  redis.pcall('INCRBY', KEYS[7], ARGV[15])
  redis.pcall('PEXPIRE', KEYS[7], 172800000)
end

remember(ARGV[11], ARGV[12], 'kind', 'request', 'id', ARGV[1], 'prompt', ARGV[13])
redis.call('XADD', KEYS[4], '*', 'v', ARGV[8], 'kind', 'outcome', 'id', ARGV[1], 'revision', '1')
-- Rated before it was recorded: that event found nothing to apply to, so say it again.
for _, name in ipairs(rated and redis.call('HKEYS', KEYS[1]) or {}) do
  local source = string.match(name, '^revision(.*)$')
  local rating = source and redis.call('HMGET', KEYS[1], name, 'score' .. source, 'weight' .. source)
  if rating and rating[2] then
    announce(KEYS[4], ARGV[1], source, rating[1], rating[2], rating[3])
    tally(ARGV[22], ARGV[23], ARGV[24], ARGV[6], ARGV[21], source, rating[2])
  end
end
return 1
