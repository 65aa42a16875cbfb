-- Lambda did not take the call: another may try. ARGV: token.
if redis.call('GET', LANE_WAKE) == ARGV[1] then redis.call('DEL', LANE_WAKE) end
return 'OK'
