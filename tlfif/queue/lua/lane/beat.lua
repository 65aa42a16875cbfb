-- The lane says that it works, how long it has run since the last time, and hears whether to go on.
-- ARGV: token, phase, in flight, TTL in s, month, s that it has run, nonce of the call.
-- Returns 'go on', 'node' (one is ready), 'latched', or 'lost' (another is the lane).
local token, phase, in_flight, ttl_s, month, used_s, nonce = unpack(ARGV)
add_lane_use(month, used_s, nonce)
local known = redis.call('HGET', LANE, 'token')
if known and known ~= token then return 'lost' end
redis.call('HSET', LANE, 'token', token, 'phase', phase, 'in_flight', in_flight, 'at', now_ms())
redis.call('EXPIRE', LANE, ttl_s)
-- It may have been silent for so long that another was called: that one will find it here.
redis.call('DEL', LANE_WAKE)
if phase == 'working' then redis.call('DEL', LANE_CALLS, LANE_FAILURE) end
if redis.call('EXISTS', LATCH) == 1 then return 'latched' end
return count_nodes() > 0 and 'node' or 'go on'
