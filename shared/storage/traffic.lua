-- Add a score to the figures of the minute and the hour in which its request was made; `before` is the one it replaces.
-- `days` is the lifetime of hours, '0' for no figures; minutes live for a day and an hour. Scores are kept as whole
-- millionths, so that a revised one is taken back exactly. pcall: a damaged hash must keep no rating out.
local function micro(score) return math.floor(tonumber(score) * 1000000 + 0.5) end
local function tally(minutes, hours, days, created_at, arm, source, score, before)
  if days == '0' then return end
  local name = (source == '' and 'user' or string.sub(source, 2)) .. '|' .. arm
  for _, place in ipairs({ { minutes, 60, 90000 }, { hours, 3600, days * 86400 } }) do
    local key = place[1] .. string.format('%.0f', math.floor(created_at / place[2]))
    if not before then redis.pcall('HINCRBY', key, 'scores:' .. name, 1) end
    redis.pcall('HINCRBY', key, 'micro:' .. name, micro(score) - (before and micro(before) or 0))
    redis.pcall('EXPIRE', key, place[3])
  end
end
