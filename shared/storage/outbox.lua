-- Put something on its way to the history, beside whatever the script that follows does. Full, it is counted instead:
-- learning goes on, the history has a gap. `stream` is '' where there is no history.
local function remember(stream, most, ...)
  if stream == '' then return end
  -- pcall: whatever is wrong with the outbox must keep no request and no rating out.
  local length = redis.pcall('XLEN', stream)
  if type(length) == 'number' and length < tonumber(most) then
    redis.pcall('XADD', stream, '*', ...)
  else
    redis.pcall('INCR', stream .. ':dropped')
  end
end
