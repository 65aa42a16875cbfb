-- The lane is of no use: nobody calls it for a while. ARGV: token, code, message, TTL in s, month,
-- s that it has run, nonce of the call.
local token, code, message, ttl_s, month, used_s, nonce = unpack(ARGV)
add_lane_use(month, used_s, nonce)
local known = redis.call('HGET', LANE, 'token')
if known and known ~= token then return 'OK' end -- another is, and may be of more use
redis.call('DEL', LANE)
note_failure(LANE_FAILURE, code, message, ttl_s)
return 'OK'
