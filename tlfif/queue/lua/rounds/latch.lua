-- Latches the budget until a time, unless it is latched for as long: the first reason stands then,
-- and no second one ends it earlier. One that ends earlier may be the last month's, by a clock that
-- is behind. ARGV: the latch as JSON, until when in epoch s. Returns 1, or 0 if there is one.
if redis.call('EXPIRETIME', LATCH) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', LATCH, ARGV[1])
redis.call('EXPIREAT', LATCH, ARGV[2])
return 1
