-- What the queue knows of the stack's nodes, for the guardian's look at them. ARGV: instance ids.
-- Returns {per node {phase or '', boot or '', ms since it was ready or -1, what was seen of it
-- before or ''}, ms since somebody wanted all to stop or -1, the latch or '', what else is closed
-- or ''}.
local now, told = now_ms(), {}
local function ago(field)
  local at = redis.call('HGET', WATCHED, field)
  return at and now - at or -1
end
for i, node in ipairs(ARGV) do
  local phase, boot = unpack(redis.call('HMGET', node_key(node), 'phase', 'boot'))
  local seen = redis.call('HGET', WATCHED, node .. ':seen')
  told[i] = {phase or '', boot or '', ago(node .. ':ready'), seen or ''}
end
return {told, ago('stop'), redis.call('GET', LATCH) or '', redis.call('GET', CLOSED) or ''}
