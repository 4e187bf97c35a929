-- Readers of a stored ledger, as ledger_codec.py packs it. One of an earlier version is JSON, with its revision in a field
-- beside it. Fields are stored by number, those of a block with an offset: `NAMES` and `OF_BLOCK` of ledger_codec.py.
local NAMES = {
  'requests', 'latency_us', 'cost_nanousd', 'prompt_tokens',
  'completion_tokens', 'labels', 'score_micro', 'score_sq_micro',
  'local_gain_micro', 'local_gain_sq_micro', 'surprise_micro', 'surprises',
  'labels_milli', 'shadows', 'unpriced', 'failures',
  'evaluation_nanousd', 'labels_milli:check', 'score_micro:check', 'score_sq_micro:check',
  'labels_milli:implicit', 'score_micro:implicit', 'score_sq_micro:implicit', 'labels_milli:judge',
  'score_micro:judge', 'score_sq_micro:judge', 'labels_milli:eval', 'score_micro:eval',
  'score_sq_micro:eval', 'labels_milli:session', 'score_micro:session', 'score_sq_micro:session',
}
local OF_BLOCK = 64
local function unpacked(ledger)
  local read, packed = pcall(cmsgpack.unpack, ledger)
  return read and type(packed) == 'table' and packed or nil
end
local function revision_of(ledger, revision)
  if not ledger or string.sub(ledger, 1, 1) == '{' then return tonumber(revision or '') or 0 end
  local packed = unpacked(ledger)
  return packed and tonumber(packed[1]) or 0
end
local function sums_of(ledger, kind) -- returns {field = integer}, or nil for a damaged ledger; `kind` is that of the request
  if string.sub(ledger, 1, 1) == '{' then
    local read, fields = pcall(cjson.decode, ledger)
    return read and fields or nil
  end
  local packed, fields = unpacked(ledger), {}
  for group = 3, 4 do
    if not packed or type(packed[group]) ~= 'table' then return nil end
    for key, value in pairs(packed[group]) do
      local name, block = key, ''
      if type(key) == 'number' then
        if key >= OF_BLOCK then key, block = key - OF_BLOCK, '~' .. packed[2] end
        if not NAMES[key + 1] then return nil end
        name = NAMES[key + 1] .. block
      end
      fields[name] = value
      if group == 4 then
        local base, rest = string.match(name, '^([^~|]+)(.*)$')
        fields[base .. '@' .. kind .. rest] = value
      end
    end
  end
  return fields
end
