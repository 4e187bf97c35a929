-- Take entries out of the outbox of the history, and their bytes out of the count. `outbox.lua` comes before.
-- KEYS: 1 the stream. ARGV: ids of entries; unknown ones are fine.
local freed = 0
for _, id in ipairs(ARGV) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry and redis.call('XDEL', KEYS[1], id) == 1 then freed = freed + size_of(entry[2]) end
end
local counter = KEYS[1] .. ':bytes'
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', counter)
elseif freed > 0 then
  redis.call('SET', counter, string.format('%.0f', math.max(0, (tonumber(redis.call('GET', counter) or '') or 0) - freed)))
end
return freed
