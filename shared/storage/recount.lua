-- Put what one request has added into another cluster, and cross it off. `ledger.lua` comes before.
-- KEYS: 1 request hash, 2 versions, 3 centroids, 4 miscounted.
-- ARGV: 1 own id, 2 epoch, 3 now, 4 its arm, 5 its day, 6 what the keys of sums start with;
--       then for each ledger: 7 its field in the hash, 8 what it held ('' for none), 9 what it is to hold, …
-- Answers: moved; changed, where a rating or another epoch has come between; refused, where something is damaged.
redis.call('SISMEMBER', KEYS[4], ARGV[1]) -- stops here, not half-way, should the key hold something else
local right = redis.call('HGET', KEYS[3], 'epoch') == ARGV[2]
for at = 7, #ARGV, 3 do
  right = right and (redis.call('HGET', KEYS[1], ARGV[at]) or '') == ARGV[at + 1]
end
if not right then
  redis.call('SADD', KEYS[4], ARGV[1])
  return 'changed'
end
redis.call('SREM', KEYS[4], ARGV[1])
local moved = {}
for at = 7, #ARGV, 3 do
  if ARGV[at + 1] ~= ARGV[at + 2] then
    if not take(ARGV[at + 1], -1, ARGV[4], ARGV[5]) or not take(ARGV[at + 2], 1, ARGV[4], ARGV[5]) then
      return 'refused'
    end
    moved[#moved + 1] = ARGV[at]
    moved[#moved + 1] = ARGV[at + 2]
  end
end
if not sound(KEYS[2], ARGV[6]) then return 'refused' end
write(KEYS[2], ARGV[6], ARGV[3])
if #moved > 0 then redis.call('HSET', KEYS[1], unpack(moved)) end
return 'moved'
