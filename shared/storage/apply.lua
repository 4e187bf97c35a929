-- Apply the contribution of one event and acknowledge the event, both or neither. `ledger.lua` comes before.
-- KEYS: 1 request hash, 2 versions, 3 unindexed, 4 events.
-- ARGV: 1 name of the contribution, 2 revision, 3 group, 4 entry id, 5 own id, 6 now, 7 the contribution as JSON, 8 its arm, 9 its day,
--       10 what the keys of sums start with, 11 outbox of the history ('' for none), 12 its bound.
-- Answers: applied, replayed, missing, refused.
local function acknowledge()
  redis.call('XACK', KEYS[4], ARGV[3], ARGV[4])
  redis.call('XDEL', KEYS[4], ARGV[4])
end

local ledger = 'applied:' .. ARGV[1]
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 'missing' end
local known = redis.call('HMGET', KEYS[1], ledger, ledger .. ':revision', 'kind')
if known[2] and tonumber(known[2]) >= tonumber(ARGV[2]) then
  acknowledge()
  return 'replayed'
end

if known[1] and not take(known[1], -1, ARGV[8], ARGV[9]) then return 'refused' end
if not take(ARGV[7], 1, ARGV[8], ARGV[9]) then return 'refused' end
if not sound(KEYS[2], ARGV[10]) then return 'refused' end
-- Only points with a score are searched; a withdrawn rating leaves its revision, and its point is due to go.
local due = redis.call('HEXISTS', KEYS[1], 'vector') == 1 and redis.call('HEXISTS', KEYS[1], 'revision') == 1
-- It stops here, not half-way, should the key hold something else.
redis.call('ZSCORE', KEYS[3], ARGV[5])

write(KEYS[2], ARGV[10], ARGV[6])
redis.call('HSET', KEYS[1], ledger, ARGV[7], ledger .. ':revision', ARGV[2])
remember(ARGV[11], ARGV[12], 'kind', 'applied', 'id', ARGV[5], 'of', ARGV[1], 'revision', ARGV[2], 'sums', ARGV[7],
  'assigned', known[3] or '')
if due then redis.call('ZADD', KEYS[3], 'NX', ARGV[6], ARGV[5]) end
acknowledge()
return 'applied'
