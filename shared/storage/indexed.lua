-- Note that a request is settled: its point has been written, if it is rated, and of it is kept what will still be read.
-- KEYS: 1 unindexed, 2 request hash, 3 story, 4 vector. ARGV: 1 own id, 2 revision written, 3 now, 4 story and 5 vector as
--       they are kept ('' for unchanged), 6 for how long a story is kept (ms), 7 '1' if there is a history.
-- Answers 1 if the request was rated anew meanwhile: then its point is due again, whoever has crossed it off.
local seen = redis.pcall('HMGET', KEYS[2], 'revision', 'kept')
if seen.err then -- no hash: nothing of it can be read, today or later
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 1 and (tonumber(seen[1] or '') or 0) ~= tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], 'NX', ARGV[3], ARGV[1])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[7] == '1' and not seen[2] then return 0 end -- the history needs it whole; it is due again once it is there
local function keep(key, short)
  if short ~= '' and redis.call('EXISTS', key) == 1 then redis.call('SET', key, short, 'KEEPTTL') end
end
if ARGV[7] == '1' then
  redis.call('DEL', KEYS[3])
else
  keep(KEYS[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
end
if tonumber(ARGV[2]) > 0 then
  redis.call('DEL', KEYS[4]) -- it is in the index
else
  keep(KEYS[4], ARGV[5])
end
return 0
