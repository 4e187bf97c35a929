-- Remove consumers that have been silent for long and hold nothing. KEYS: 1 events. ARGV: 1 group, 2 idle in ms.
-- Removing one that still holds events would lose them: no other consumer could claim them.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end -- nothing has ever been read
local removed = 0
for _, reply in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for at = 1, #reply, 2 do consumer[reply[at]] = reply[at + 1] end
  if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed = removed + 1
  end
end
return removed
