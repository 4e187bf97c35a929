-- Take entries out of the outbox of the history, and their bytes out of the count. `outbox.lua` comes before.
-- A request that is in the history is read from there: it is due to be settled, once it is learned.
-- KEYS: 1 the stream, 2 unindexed, 3 what the keys of requests start with. ARGV: now, then ids of entries; unknown ones
-- are fine.
local function kept(own)
  if redis.call('EXISTS', KEYS[3] .. own) == 0 then return end
  redis.call('HSET', KEYS[3] .. own, 'kept', '1')
  local learned = redis.call('HEXISTS', KEYS[3] .. own, 'applied:outcome') == 1
  if learned then redis.call('ZADD', KEYS[2], 'NX', ARGV[1], own) end
end
local freed = 0
for at = 2, #ARGV do
  local id = ARGV[at]
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry and redis.call('XDEL', KEYS[1], id) == 1 then
    freed = freed + size_of(entry[2])
    if entry[2][2] == 'request' then pcall(kept, entry[2][4]) end -- a damaged request stops no others
  end
end
local counter = KEYS[1] .. ':bytes'
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', counter)
elseif freed > 0 then
  redis.call('SET', counter, string.format('%.0f', math.max(0, (tonumber(redis.call('GET', counter) or '') or 0) - freed)))
end
return freed
