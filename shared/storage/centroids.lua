-- Replace the cluster centres by those of a later epoch. KEYS: 1 centroids. ARGV: 1 epoch, 2… fields and values.
-- Answers 1, or 0 where that epoch, or a later one, is there already. `counted` stays: it names an earlier epoch.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) and tonumber(epoch) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', unpack(ARGV))
return 1
