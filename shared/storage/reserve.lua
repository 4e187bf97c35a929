-- Claim a public id, and take from the key's limits what the request may use: both or neither.
-- KEYS: 1 alias; only for a key with limits: 2 rate, 3 spent; last, only where the public id has the form of an own id:
--       the request hash of that id. A public id that is another request's own id is taken, but for its owner's after
--       that request has failed.
-- ARGV: 1 own id, 2 lifetime in ms; 3 requests a minute, 4 tokens a minute, 5 budget in 1e-9 USD (0: no limit),
--       6 tokens and 7 cost in 1e-9 USD that the request may use at most.
-- Answers: new, taken, or the limit that refuses (requests, tokens, budget); then requests and tokens left, and spent.
-- The alias holds the own id, with "!" behind it once that request has failed: then anybody of this owner may claim it.
local taken = redis.call('GET', KEYS[1])
if taken and taken ~= ARGV[1] and string.sub(taken, -1) ~= '!' then return { 'taken' } end

if not taken and #KEYS % 2 == 0 and redis.call('EXISTS', KEYS[#KEYS]) == 1 then return { 'taken' } end

local left = {}
if #KEYS > 2 then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local seen = redis.call('HMGET', KEYS[2], 'at', 'requests', 'tokens')
  local passed = math.max(0, now - tonumber(seen[1] or now))
  local function level(stored, limit)
    return math.min(limit, (tonumber(stored or '') or limit) + passed * limit / 60000)
  end
  local rpm, tpm, budget = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
  local requests, tokens = level(seen[2], rpm), level(seen[3], tpm)
  local spent = tonumber(redis.call('GET', KEYS[3]) or 0)
  local refused
  if taken ~= ARGV[1] then -- sent again after a lost connection, it has paid
    refused = rpm > 0 and requests < 1 and 'requests' or tpm > 0 and tokens <= 0 and 'tokens'
      or budget > 0 and spent >= budget and 'budget'
    if not refused then
      requests, tokens, spent = requests - 1, tokens - (tpm > 0 and ARGV[6] or 0), spent + ARGV[7]
      redis.call('HSET', KEYS[2], 'at', now, 'requests', string.format('%.3f', requests),
        'tokens', string.format('%.3f', tokens))
      redis.call('PEXPIRE', KEYS[2], 3600000)
      redis.call('INCRBY', KEYS[3], ARGV[7])
      redis.call('PEXPIRE', KEYS[3], 172800000)
    end
  end
  left = { string.format('%.3f', requests), string.format('%.3f', tokens), string.format('%.0f', spent) }
  if refused then return { refused, unpack(left) } end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 'new', unpack(left) }
