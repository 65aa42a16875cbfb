-- The lane is of no use: nobody calls it for a while. ARGV: token, code, message, TTL in s, month,
-- s that it has run.
local token, code, message, ttl_s, month, used_s = unpack(ARGV)
redis.call('HINCRBYFLOAT', LANE_USE, month, used_s)
redis.call('EXPIRE', LANE_USE, 400 * 86400)
note_lane_failure(code, message, ttl_s)
if redis.call('HGET', LANE, 'token') == token then redis.call('DEL', LANE) end
return 'OK'
