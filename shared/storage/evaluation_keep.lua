-- Restart the idle time of a task that its consumer still works on. KEYS: 1 stream. ARGV: 1 group, 2 consumer, 3 entry id.
-- One that another consumer has taken over meanwhile stays there. JUSTID counts no delivery.
local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if #held == 1 then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'JUSTID') end
return #held
