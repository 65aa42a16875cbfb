-- Says that a node is there; a heartbeat never undoes draining. ARGV: JSON, see working.heartbeat.
-- Returns the phase in force.
local beat, now = cjson.decode(ARGV[1]), now_ms()
local node, phase = node_key(beat.instance), beat.phase
local known_boot, known_phase = unpack(redis.call('HMGET', node, 'boot', 'phase'))
if known_boot == beat.boot and known_phase == 'draining' then phase = 'draining' end
if known_boot ~= beat.boot then -- the node that was woken is here
  redis.call('DEL', WAKE)
  redis.call('HDEL', STARTS, beat.instance)
end
-- Not earlier: a boot that comes to nothing as the last one did must not hide why.
local was_ready = known_boot == beat.boot and known_phase == 'ready'
if phase == 'ready' and not was_ready then
  redis.call('DEL', START_FAILURE, BREAKER)
  redis.call('HSET', WATCHED, beat.instance .. ':ready', now)
  redis.call('EXPIRE', WATCHED, beat.watched_s)
end
redis.call('HSET', node, 'boot', beat.boot, 'phase', phase, 'in_flight', beat.in_flight,
  'timings', beat.timings, 'at', now)
redis.call('EXPIRE', node, beat.ttl_s)
redis.call('ZADD', NODES, now, beat.instance)
redis.call('EXPIRE', NODES, 4 * beat.ttl_s)
if beat.boot_ms then
  for list, value in pairs({[BOOTS] = beat.boot_ms, [BOOT_STEPS] = beat.timings}) do
    redis.call('LPUSH', list, value)
    redis.call('LTRIM', list, 0, beat.boots_bound - 1)
    redis.call('EXPIRE', list, 90 * 86400)
  end
  redis.call('HSET', NEWS, 'boot', beat.timings)
  redis.call('EXPIRE', NEWS, 3600)
end
return phase
