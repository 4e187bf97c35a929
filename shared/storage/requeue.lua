-- Move dead letters back to the end of the stream. KEYS: 1 events, 2 dead. ARGV: 1 how many at most.
local letters = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', ARGV[1])
for _, letter in ipairs(letters) do
  local fields = {}
  for at = 1, #letter[2], 2 do
    if letter[2][at] ~= 'reason' then
      fields[#fields + 1] = letter[2][at]
      fields[#fields + 1] = letter[2][at + 1]
    end
  end
  if #fields == 0 then fields = { 'v', '0' } end
  redis.call('XADD', KEYS[1], '*', unpack(fields))
  redis.call('XDEL', KEYS[2], letter[1])
end
return #letters
