-- Save an assignment of requests to kinds of prompt, if the stored kinds are those that it started from.
-- KEYS: 1 kinds, 2 and 3 the clusters of earlier versions, then the hashes of the requests.
-- ARGV: 1 generation, 2 order and 3 mark that were read ('' for no kinds), 4 '1' to replace all fields, 5 lifetime in ms
--       that the clusters have left once there are kinds, 6 number of fields to remove, 7 number of fields to set; the
--       names to remove; names and values to set; then what each request's field `kind` shall be.
-- Answers 1, or 0 where another learner has assigned meanwhile, be it only one of these requests: then nothing is written.
local stored = redis.call('HMGET', KEYS[1], 'generation', 'order', 'mark')
if (stored[1] or '') ~= ARGV[1] or (stored[2] or '') ~= ARGV[2] then return 0 end
if (stored[3] or '') ~= ARGV[3] then return 0 end
local present = {}
for number = 4, #KEYS do
  local request = redis.pcall('HMGET', KEYS[number], 'status', 'kind', 'record')
  -- pcall: one that is no hash is none of ours. One that has expired must not come back without a lifetime.
  present[number] = (request[1] or request[3]) and not request.err
  if present[number] and request[2] then return 0 end
end
if ARGV[4] == '1' then redis.call('DEL', KEYS[1]) end
local at = 8
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HDEL', KEYS[1], ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[7]) do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
-- Kept for a while: a learner of an earlier version that still runs would fit clusters anew.
if not stored[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
for number = 4, #KEYS do
  if present[number] then redis.call('HSET', KEYS[number], 'kind', ARGV[at]) end
  at = at + 1
end
return 1
