-- A node says that it is there. KEYS: node. ARGV: instance, boot, phase, jobs in flight, TTL in s, timings JSON,
-- boot duration in ms ('' = not now), bound of the history. Returns the phase in force: draining is never undone by a heartbeat.
local node, instance, boot, phase, ttl_s = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local known = redis.call('HMGET', node, 'boot', 'phase')
if known[1] == boot and known[2] == 'draining' then phase = 'draining' end
if known[1] ~= boot then redis.call('DEL', WAKE) end -- the node that was woken is here
redis.call('HSET', node, 'boot', boot, 'phase', phase, 'in_flight', ARGV[4], 'timings', ARGV[6], 'at', now_ms())
redis.call('EXPIRE', node, ttl_s)
redis.call('ZADD', NODES, now_ms(), instance)
redis.call('EXPIRE', NODES, 4 * ttl_s)
if ARGV[7] ~= '' then
  redis.call('LPUSH', BOOTS, ARGV[7])
  redis.call('LTRIM', BOOTS, 0, ARGV[8] - 1)
  redis.call('EXPIRE', BOOTS, 90 * 86400)
end
return phase
