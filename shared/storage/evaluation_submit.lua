-- Store the task of an evaluation and reserve its cost, both or neither.
-- KEYS: 1 stream of tasks, 2 content of the task, 3 spent on the day, 4 request hash.
-- ARGV: 1 own id, 2 task, 3 reserved cost (1e-9 USD, whole), 4 day, 5 budget of the day (1e-9 USD), 6 most waiting tasks,
--       7 lifetime of the content in ms.
-- Answers: submitted, over_budget, queue_full.
-- The reply to an earlier call may have been lost.
if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('HEXISTS', KEYS[4], 'evaluation') == 1 then return 'submitted' end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[6]) then return 'queue_full' end
if tonumber(redis.call('GET', KEYS[3]) or '0') + tonumber(ARGV[3]) > tonumber(ARGV[5]) then return 'over_budget' end
redis.call('INCRBY', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[3], 172800000)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[7])
redis.call('XADD', KEYS[1], '*', 'id', ARGV[1], 'day', ARGV[4], 'reserved', ARGV[3])
return 'submitted'
