-- Apply the contribution of one event and acknowledge the event, both or neither.
-- KEYS: 1 request hash, 2 versions, 3 unindexed, 4 events.
-- ARGV: 1 kind, 2 revision, 3 group, 4 entry id, 5 own id, 6 now, 7 the contribution as JSON, 8 its arm, 9 its day,
--       10 what the keys of sums start with, 11 outbox of the history ('' for none), 12 its bound.
-- A contribution is {"field": integer, "field|other arm": integer, …}; a field without an arm is that of ARGV[8].
-- Answers: applied, replayed, missing, refused. There is no rollback in Lua: everything is checked before the first
-- write.
local function whole(text)
  -- 15 digits: three of them added stay below what the readers accept, far below what Redis can count to, and exact in
  -- Lua's doubles. Only in the one spelling that HINCRBY takes: it would stop us half-way at '-0' or '007'.
  local digits = text and (text == '0' and text or string.match(text, '^%-?([1-9]%d*)$'))
  return digits and #digits <= 15
end
local function negative(text)
  if text == '0' then return text end
  return string.sub(text, 1, 1) == '-' and string.sub(text, 2) or '-' .. text
end
local function acknowledge()
  redis.call('XACK', KEYS[4], ARGV[3], ARGV[4])
  redis.call('XDEL', KEYS[4], ARGV[4])
end

local changes, touched = {}, {}
local function take(contribution, sign) -- returns whether every part of it is right
  local read, fields = pcall(cjson.decode, contribution)
  if not read or type(fields) ~= 'table' then return false end
  for name, number in pairs(fields) do
    if type(name) ~= 'string' or type(number) ~= 'number' or number ~= math.floor(number) then return false end
    local text = string.format('%.0f', number)
    if not whole(text) then return false end
    local field, arm = string.match(name, '^([^|]+)|(.+)$')
    local member = (arm or ARGV[8]) .. '|' .. ARGV[9]
    changes[#changes + 1] = { member, field or name, sign < 0 and negative(text) or text }
    touched[member] = true
  end
  return true
end

local ledger = 'applied:' .. ARGV[1]
local known = redis.call('HMGET', KEYS[1], 'record', ledger, ledger .. ':revision')
if not known[1] then return 'missing' end
if known[3] and tonumber(known[3]) >= tonumber(ARGV[2]) then
  acknowledge()
  return 'replayed'
end

if known[2] and not take(known[2], -1) then return 'refused' end
if not take(ARGV[7], 1) then return 'refused' end
for _, change in ipairs(changes) do
  local current = redis.call('HGET', ARGV[10] .. change[1], change[2])
  if current and not whole(current) then return 'refused' end
end
for member in pairs(touched) do
  local version = redis.call('HGET', KEYS[2], member)
  if version and not whole(version) then return 'refused' end
end
redis.call('ZSCORE', KEYS[3], ARGV[5]) -- stops here, not half-way, should the key hold something else

for _, change in ipairs(changes) do
  redis.call('HINCRBY', ARGV[10] .. change[1], change[2], change[3])
end
redis.call('HSET', KEYS[1], ledger, ARGV[7], ledger .. ':revision', ARGV[2])
remember(ARGV[11], ARGV[12], 'kind', 'applied', 'id', ARGV[5], 'of', ARGV[1], 'revision', ARGV[2], 'sums', ARGV[7])
for member in pairs(touched) do
  -- Starting at the time tells a gateway that the counter began anew, should Redis ever lose its memory.
  redis.call('HSETNX', KEYS[2], member, ARGV[6])
  redis.call('HINCRBY', KEYS[2], member, 1)
end
if redis.call('HEXISTS', KEYS[1], 'vector') == 1 then redis.call('ZADD', KEYS[3], 'NX', ARGV[6], ARGV[5]) end
acknowledge()
return 'applied'
