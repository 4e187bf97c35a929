-- Add a model, or take it out unless all others are out already.
-- KEYS: 1 arms. ARGV: 1 model, 2 '1' to add or '0' to take out, 3… the others. Answers 1, or 0 for nothing done.
local left = ARGV[2] == '1'
for at = 3, #ARGV do
  left = left or redis.call('HGET', KEYS[1], ARGV[at]) ~= '0'
end
if not left then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
