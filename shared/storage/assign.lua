-- Save an assignment of requests to kinds of prompt, if the stored kinds are those that it started from.
-- KEYS: 1 kinds, 2 and 3 the clusters of earlier versions, then the hashes of the requests.
-- ARGV: 1 generation and 2 order that were read ('' for no kinds), 3 '1' to replace all fields, 4 lifetime in ms that the
--       clusters have left once there are kinds, 5 number of fields to remove, 6 number of fields to set; the names to
--       remove; names and values to set; then what each request's field `kind` shall be.
-- Answers 1, or 0 where another learner has assigned meanwhile, be it only one of these requests: then nothing is written.
local stored = redis.call('HMGET', KEYS[1], 'generation', 'order')
if (stored[1] or '') ~= ARGV[1] or (stored[2] or '') ~= ARGV[2] then return 0 end
local present = {}
for number = 4, #KEYS do
  local request = redis.pcall('HMGET', KEYS[number], 'record', 'kind')
  -- pcall: one that is no hash is none of ours. One that has expired must not come back without a lifetime.
  present[number] = request[1] and not request.err
  if present[number] and request[2] then return 0 end
end
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
local at = 7
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HDEL', KEYS[1], ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
-- Kept for a while: a learner of an earlier version that still runs would fit clusters anew.
if not stored[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
for number = 4, #KEYS do
  if present[number] then redis.call('HSET', KEYS[number], 'kind', ARGV[at]) end
  at = at + 1
end
return 1
