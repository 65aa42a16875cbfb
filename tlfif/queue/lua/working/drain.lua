-- Idle -> draining, refused while anything could still want this node. Accept reads the same keys
-- in one script: either it sees `draining`, or this sees its job. ARGV: instance, boot, TTL in s.
local instance, boot, ttl_s = ARGV[1], ARGV[2], ARGV[3]
local node = node_key(instance)
local waiting = redis.call('XLEN', STREAM)
if waiting > 0 then
  local ok, pending = pcall(redis.call, 'XPENDING', STREAM, GROUP)
  if not ok or pending[1] < waiting then return 'work is queued' end
  for _, consumer in ipairs(pending[4]) do
    local owner = consumer[1]:match('^[^:]+')
    if owner == instance then return 'a job is held here' end
    local there = owner == LANE_OWNER and LANE or node_key(owner)
    if redis.call('EXISTS', there) == 0 then return 'a job is abandoned' end
  end
end
redis.call('HSET', node, 'boot', boot, 'phase', 'draining', 'at', now_ms())
redis.call('EXPIRE', node, ttl_s)
return 'draining'
