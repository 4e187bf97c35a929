-- Add the event of a rating to the stream. `source` is '' for users, else ':<source>': what the names of its fields end on.
-- The version of the event is `FIRST_VERSION` or `EVENT_VERSION` of shared/schemas/events.py.
local function announce(events, own, source, revision, score, weight)
  local event = { 'kind', 'feedback', 'id', own, 'revision', revision, 'score', score }
  if source == '' then
    redis.call('XADD', events, '*', 'v', '1', unpack(event))
  else
    redis.call('XADD', events, '*', 'v', '2', 'source', string.sub(source, 2), 'weight', weight or '1', unpack(event))
  end
end
