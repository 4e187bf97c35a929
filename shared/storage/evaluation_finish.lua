-- Store the result of an evaluation, tell the learner, settle the budget and remove the task. `outbox.lua`, `traffic.lua` and
-- `stored_ledger.lua` come before.
-- KEYS: 1 stream of tasks, 2 content of the task, 3 request hash, 4 events.
-- ARGV: 1 group, 2 entry id, 3 own id, 4 result ('' for none), 5 its known cost (1e-9 USD, whole), 6 event version,
--       7 what the keys of a day's spending start with, 8 outbox of the history ('' for none), 9 its bound,
--       10 revision of an outcome that was forgotten,
--       11 '1' where all of the cost is known; else at least what was reserved stays spent,
--       12 the judge's score of the answer that the client got ('' for none), 13 what the keys of minutes start with,
--       14 the same of hours, 15 days that these are kept (0 for none).
-- Answers 1 where the result is stored.
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 0 then return 0 end -- finished before
local task = {}
for at = 1, #found[1][2], 2 do task[found[1][2][at]] = found[1][2][at + 1] end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
if ARGV[4] == '' then return 0 end -- what it has cost is not known: its reservation stays spent
-- The key is made here because only the task says of which day it is; it shares the hash tag of all others.
local spent = ARGV[7] .. (task.day or '')
if tonumber(task.reserved or '') and redis.call('EXISTS', spent) == 1 then
  local beyond = tonumber(ARGV[5]) - tonumber(task.reserved)
  if ARGV[11] ~= '1' then beyond = math.max(beyond, 0) end
  redis.pcall('INCRBY', spent, string.format('%.0f', beyond))
end
local story = redis.call('HMGET', KEYS[3], 'evaluation', 'applied:outcome:revision', 'arm', 'created_at',
  'applied:outcome', 'status')
if not story[6] or story[1] then return 0 end
if revision_of(story[5], story[2]) >= tonumber(ARGV[10]) then return 0 end -- the operator has removed it from the sums
redis.call('HSET', KEYS[3], 'evaluation', ARGV[4])
remember(ARGV[8], ARGV[9], 'kind', 'evaluation', 'id', ARGV[3])
redis.call('XADD', KEYS[4], '*', 'v', ARGV[6], 'kind', 'evaluation', 'id', ARGV[3], 'revision', '1')
if ARGV[12] ~= '' and story[3] then
  tally(ARGV[13], ARGV[14], ARGV[15], story[4], story[3], ':judge', ARGV[12])
end
return 1
