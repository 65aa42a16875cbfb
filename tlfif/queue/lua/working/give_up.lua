-- A node goes because it is of no use: nobody counts on it any more, and why is kept for whoever
-- waits. ARGV: instance, boot, TTL in s, code, message, TTL of the failure in s.
local instance, boot, ttl_s, code, message, failure_s = unpack(ARGV)
local node = node_key(instance)
redis.call('HSET', node, 'boot', boot, 'phase', 'draining', 'at', now_ms())
redis.call('EXPIRE', node, ttl_s)
note_failure(START_FAILURE, code, message, failure_s)
return 'draining'
