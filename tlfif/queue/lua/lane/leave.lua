-- The lane goes: for want of work, unless some has come, or because its time is over.
-- ARGV: token, 1 if its time is over, ms after which a silent worker has let its jobs go, TTL of a
-- call in s, month, s that it has run since it last said so, nonce of the call.
-- Returns 'left', 'work' (it is to stay, and nothing is counted), 'call' (it is to call its
-- successor, and has the right to), or 'lost' (another is the lane). The same call sent again gets
-- the same answer, unless something has come meanwhile.
local token, over, let_go_ms, ttl_s, month, used_s, nonce = unpack(ARGV)
local known = redis.call('HGET', LANE, 'token')
local lost = known and known ~= token
local work = not lost and redis.call('EXISTS', LATCH) == 0 and count_nodes() == 0
  and lane_is_wanted(let_go_ms)
if work and over ~= '1' then return 'work' end
add_lane_use(month, used_s, nonce)
if lost then return 'lost' end
redis.call('DEL', LANE)
if redis.call('GET', LANE_WAKE) == token then return 'call' end
redis.call('DEL', LANE_CALLS) -- it came, and goes in an orderly manner
if not work then return 'left' end
return redis.call('SET', LANE_WAKE, token, 'NX', 'EX', ttl_s) and 'call' or 'left'
