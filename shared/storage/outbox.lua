-- Put something on its way to the history, beside whatever the script that follows does. Full, it is counted instead:
-- learning goes on, the history has a gap. `stream` is '' where there is no history; `bounds` is entries:bytes. The bytes
-- that wait are counted beside the stream, and anew when it is empty.
local function size_of(fields)
  local size = 100 -- what an entry takes beside its fields
  for _, field in ipairs(fields) do size = size + #tostring(field) end
  return size
end
local function remember(stream, bounds, ...)
  if stream == '' then return end
  local most, most_bytes = string.match(bounds, '^(%d+):(%d+)$')
  -- pcall: whatever is wrong with the outbox must keep no request and no rating out.
  local length = redis.pcall('XLEN', stream)
  local used = length ~= 0 and tonumber(redis.pcall('GET', stream .. ':bytes') or '') or 0
  local size = used + size_of({ ... })
  if type(length) == 'number' and length < tonumber(most) and size <= tonumber(most_bytes) then
    local added = redis.pcall('XADD', stream, '*', ...)
    if type(added) == 'string' then redis.pcall('SET', stream .. ':bytes', string.format('%.0f', size)) end
  else
    redis.pcall('INCR', stream .. ':dropped')
  end
end
