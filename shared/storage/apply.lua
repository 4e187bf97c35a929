-- Apply the contribution of one event and acknowledge the event, both or neither.
-- KEYS: 1 request hash, 2 sums, 3 versions, 4 unindexed, 5 events.
-- ARGV: 1 kind, 2 revision, 3 group, 4 entry id, 5 field of versions, 6 own id, 7 now, 8 the contribution as JSON,
--       9… field, integer, field, integer, …
-- Answers: applied, replayed, missing, refused. There is no rollback in Lua: everything is checked before the first
-- write. Numbers stay strings, for Lua's doubles would round large ones.
local function whole(text)
  -- 15 digits: three of them added stay below what the readers accept, and far below what Redis can count to.
  -- Only in the one spelling that HINCRBY takes: it would stop us half-way at '-0' or '007'.
  local digits = text and (text == '0' and text or string.match(text, '^%-?([1-9]%d*)$'))
  return digits and #digits <= 15
end
local function negative(text)
  if text == '0' then return text end
  return string.sub(text, 1, 1) == '-' and string.sub(text, 2) or '-' .. text
end
local function acknowledge()
  redis.call('XACK', KEYS[5], ARGV[3], ARGV[4])
  redis.call('XDEL', KEYS[5], ARGV[4])
end

local ledger = 'applied:' .. ARGV[1]
local known = redis.call('HMGET', KEYS[1], 'record', ledger, ledger .. ':revision')
if not known[1] then return 'missing' end
if known[3] and tonumber(known[3]) >= tonumber(ARGV[2]) then
  acknowledge()
  return 'replayed'
end

local changes, touched = {}, {}
if known[2] then
  local parts = {}
  for field, number in string.gmatch(known[2], '"([^"]+)":(%-?%d+)') do
    if not whole(number) then return 'refused' end
    parts[#parts + 1] = '"' .. field .. '":' .. number
    changes[#changes + 1] = { field, negative(number) }
    touched[field] = true
  end
  if '{' .. table.concat(parts, ',') .. '}' ~= known[2] then return 'refused' end
end
for at = 9, #ARGV, 2 do
  if not whole(ARGV[at + 1]) then return 'refused' end
  changes[#changes + 1] = { ARGV[at], ARGV[at + 1] }
  touched[ARGV[at]] = true
end
for field in pairs(touched) do
  local current = redis.call('HGET', KEYS[2], field)
  if current and not whole(current) then return 'refused' end
end

local version = redis.call('HGET', KEYS[3], ARGV[5])
if version and not whole(version) then return 'refused' end
redis.call('ZSCORE', KEYS[4], ARGV[6]) -- stops here, not half-way, should the key hold something else

for _, change in ipairs(changes) do
  redis.call('HINCRBY', KEYS[2], change[1], change[2])
end
redis.call('HSET', KEYS[1], ledger, ARGV[8], ledger .. ':revision', ARGV[2])
if #changes > 0 then
  -- Starting at the time tells a gateway that the counter began anew, should Redis ever lose its memory.
  redis.call('HSETNX', KEYS[3], ARGV[5], ARGV[7])
  redis.call('HINCRBY', KEYS[3], ARGV[5], 1)
end
if redis.call('HEXISTS', KEYS[1], 'vector') == 1 then redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[6]) end
acknowledge()
return 'applied'
