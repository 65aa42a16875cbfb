-- Forgets the boots that failed: nodes are started again. Returns how many there were.
local failed = redis.call('HGET', BREAKER, 'failed') or 0
redis.call('DEL', BREAKER)
return tonumber(failed)
