-- Sums, and ledgers of requests, as lines of place, arm, day, field and number.
-- `stored_ledger.lua` comes before. Read-only. It scans every key: for trials only.
local lines, ledgers = {}, {}
for _, key in ipairs(redis.call('KEYS', '{router}:sums:*')) do
  local arm, day = string.match(key, '^{router}:sums:(.+)|([^|]+)$')
  local fields = redis.call('HGETALL', key)
  for at = 1, #fields, 2 do
    lines[#lines + 1] = table.concat({ 'sums', arm, day, fields[at], fields[at + 1] }, '\t')
  end
end
for _, key in ipairs(redis.call('KEYS', '{router}:request:*')) do
  local story, seen = redis.call('HGETALL', key), {}
  for at = 1, #story, 2 do seen[story[at]] = story[at + 1] end
  if seen.status then
    local day = math.floor(seen.created_at / 86400) -- since 1970, in UTC
    local kind = string.match(seen.kind or '', '^(.*):')
    for stored, ledger in pairs(seen) do
      local applied = string.find(stored, '^applied:') and not string.find(stored, ':revision$')
      for name, number in pairs(applied and sums_of(ledger, kind) or {}) do
        local field, other = string.match(name, '^([^|]+)|(.+)$')
        local line = table.concat({ 'ledgers', other or seen.arm, day, field or name }, '\t')
        ledgers[line] = (ledgers[line] or 0) + number
      end
    end
  end
end
for line, number in pairs(ledgers) do
  lines[#lines + 1] = line .. string.format('\t%.0f', number)
end
return lines
