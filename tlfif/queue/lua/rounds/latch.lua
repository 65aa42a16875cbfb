-- Latches the budget until a time, unless it is latched: the first reason stands, and no second one
-- ends it earlier. ARGV: the latch as JSON, until when in epoch s. Returns 1, or 0 if there is one.
if redis.call('EXISTS', LATCH) == 1 then return 0 end
redis.call('SET', LATCH, ARGV[1])
redis.call('EXPIREAT', LATCH, ARGV[2])
return 1
