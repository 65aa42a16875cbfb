-- A function says that it is the lane. ARGV: token, TTL in s.
-- Returns 'entered', 'busy' (another is), or 'latched'. The same call sent again gets the same
-- answer.
local token, ttl_s = ARGV[1], ARGV[2]
redis.call('DEL', LANE_WAKE) -- whoever was called has come, whatever comes of it
if redis.call('EXISTS', LATCH) == 1 then return 'latched' end
local known = redis.call('HGET', LANE, 'token')
if known and known ~= token then return 'busy' end
redis.call('HSET', LANE, 'token', token, 'phase', 'loading', 'in_flight', 0, 'at', now_ms())
redis.call('EXPIRE', LANE, ttl_s)
return 'entered'
