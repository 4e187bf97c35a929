-- Apply the contribution of one event and acknowledge the event, both or neither. `stored_ledger.lua` and `ledger.lua`
-- come before.
-- KEYS: 1 request hash, 2 versions, 3 unindexed, 4 events.
-- ARGV: 1 name of the contribution, 2 revision, 3 group, 4 entry id, 5 own id, 6 now, 7 the contribution as JSON, 8 its arm, 9 its day,
--       10 what the keys of sums start with, 11 outbox of the history ('' for none), 12 its bound, 13 the contribution as
--       it is stored, packed for a request of the kind 14 ('' for none).
-- Answers: applied, replayed, missing, refused.
local function acknowledge()
  redis.call('XACK', KEYS[4], ARGV[3], ARGV[4])
  redis.call('XDEL', KEYS[4], ARGV[4])
end

local ledger = 'applied:' .. ARGV[1]
local known = redis.call('HMGET', KEYS[1], ledger, ledger .. ':revision', 'kind', 'status', 'record', 'kept')
if not known[4] and not known[5] then return 'missing' end
local kind = string.match(known[3] or '', '^(.*):') or ''
if known[1] and revision_of(known[1], known[2]) >= tonumber(ARGV[2]) then
  acknowledge()
  return 'replayed'
end

local read, contribution = pcall(cjson.decode, ARGV[7])
if known[1] and not take(sums_of(known[1], kind), -1, ARGV[8], ARGV[9]) then return 'refused' end
if not read or not take(contribution, 1, ARGV[8], ARGV[9]) then return 'refused' end
if not sound(KEYS[2], ARGV[10]) then return 'refused' end
-- An import has no status, and no point of its own. A request that is still to be written to the history is due after that.
local settles = known[4] and (ARGV[1] == 'feedback' or ARGV[1] == 'outcome' and (ARGV[11] == '' or known[6]))
-- It stops here, not half-way, should the key hold something else.
if settles then redis.call('ZSCORE', KEYS[3], ARGV[5]) end

write(KEYS[2], ARGV[10], ARGV[6])
if ARGV[14] == '' or ARGV[14] == kind then
  redis.call('HSET', KEYS[1], ledger, ARGV[13])
  if known[2] then redis.call('HDEL', KEYS[1], ledger .. ':revision') end
else -- assigned by a learner of an earlier version, which stored its kind in the ledger alone
  redis.call('HSET', KEYS[1], ledger, ARGV[7], ledger .. ':revision', ARGV[2])
end
remember(ARGV[11], ARGV[12], 'kind', 'applied', 'id', ARGV[5], 'of', ARGV[1], 'revision', ARGV[2], 'sums', ARGV[7],
  'assigned', known[3] or '')
if settles then redis.call('ZADD', KEYS[3], 'NX', ARGV[6], ARGV[5]) end
acknowledge()
return 'applied'
