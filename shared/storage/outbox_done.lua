-- Take entries out of the outbox of the history, and their bytes out of the count. `outbox.lua` comes before.
-- A request that is in the history is read from there: it is due to be settled, once it is learned.
-- KEYS: 1 the stream, 2 unindexed, 3 what the keys of requests start with. ARGV: now, then ids of entries in their order;
-- unknown ones are fine.
local function kept(own)
  local request = redis.call('HMGET', KEYS[3] .. own, 'status', 'record', 'applied:outcome')
  if not request[1] and not request[2] then return end
  redis.call('HSET', KEYS[3] .. own, 'kept', '1')
  if request[3] then redis.call('ZADD', KEYS[2], 'NX', ARGV[1], own) end
end
local done, found, freed = {}, {}, 0
for at = 2, #ARGV do done[ARGV[at]] = true end
-- All of them by one command: Redis looks for each single entry from the start of its node.
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[#ARGV])) do
  if done[entry[1]] then
    found[#found + 1] = entry[1]
    freed = freed + size_of(entry[2])
    if entry[2][2] == 'request' then pcall(kept, entry[2][4]) end -- a damaged request stops no others
  end
end
if #found > 0 then redis.call('XDEL', KEYS[1], unpack(found)) end
local counter = KEYS[1] .. ':bytes'
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', counter)
elseif freed > 0 then
  redis.call('SET', counter, string.format('%.0f', math.max(0, (tonumber(redis.call('GET', counter) or '') or 0) - freed)))
end
return freed
