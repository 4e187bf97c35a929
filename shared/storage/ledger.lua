-- What a request has added to the sums, taken out and put in. There is no rollback in Lua: everything is checked, by
-- `take` and `sound`, before `write` writes anything.
-- A contribution is {"field": integer, "field|other arm": integer, …}; a field without an arm is that of `own_arm`.
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

local changes, touched = {}, {}
local function take(contribution, sign, own_arm, day) -- returns whether every part of it is right
  local read, fields = pcall(cjson.decode, contribution)
  if not read or type(fields) ~= 'table' then return false end
  for name, number in pairs(fields) do
    if type(name) ~= 'string' or type(number) ~= 'number' or number ~= math.floor(number) then return false end
    local text = string.format('%.0f', number)
    if not whole(text) then return false end
    local field, arm = string.match(name, '^([^|]+)|(.+)$')
    local member = (arm or own_arm) .. '|' .. day
    changes[#changes + 1] = { member, field or name, sign < 0 and negative(text) or text }
    touched[member] = true
  end
  return true
end
local function sound(versions, sums) -- whether what is stored can be counted on
  for _, change in ipairs(changes) do
    local current = redis.call('HGET', sums .. change[1], change[2])
    if current and not whole(current) then return false end
  end
  for member in pairs(touched) do
    local version = redis.call('HGET', versions, member)
    if version and not whole(version) then return false end
  end
  return true
end
local function write(versions, sums, now)
  for _, change in ipairs(changes) do
    redis.call('HINCRBY', sums .. change[1], change[2], change[3])
  end
  for member in pairs(touched) do
    -- Starting at the time tells a gateway that the counter began anew, should Redis ever lose its memory.
    redis.call('HSETNX', versions, member, now)
    redis.call('HINCRBY', versions, member, 1)
  end
end
