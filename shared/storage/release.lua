-- Give back what `reserve.lua` took for a request without a record: its public id, and the unused part of the charge.
-- KEYS: 1 alias, 2 request hash; only for a key with limits: 3 rate, 4 spent. ARGV: 1 own id, 2 tokens and 3 cost in 1e-9 USD,
--       4 requests.
-- Called again it finds the alias gone, and changes nothing.
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('HEXISTS', KEYS[2], 'status') == 1 then return 0 end
redis.call('DEL', KEYS[1])
if KEYS[3] then
  -- What is gone or damaged has nothing to be given back to.
  if redis.call('EXISTS', KEYS[3]) == 1 then
    redis.pcall('HINCRBYFLOAT', KEYS[3], 'requests', ARGV[4])
    redis.pcall('HINCRBYFLOAT', KEYS[3], 'tokens', ARGV[2])
  end
  if redis.call('EXISTS', KEYS[4]) == 1 then redis.pcall('DECRBY', KEYS[4], ARGV[3]) end
end
return 1
