-- Lambda did not take the call: it is not counted on for a moment, then another may try.
-- ARGV: token, code, message, TTL of the failure in s.
local token, code, message, failure_s = unpack(ARGV)
if redis.call('GET', LANE_WAKE) ~= token then return 'OK' end
redis.call('DEL', LANE_WAKE)
if tonumber(redis.call('GET', LANE_CALLS) or 0) > 0 then redis.call('DECR', LANE_CALLS) end
note_failure(LANE_FAILURE, code, message, failure_s)
return 'OK'
