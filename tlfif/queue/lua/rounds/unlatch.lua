-- Lifts the budget's latch. Returns 1, or 0 if there is none.
return redis.call('DEL', LATCH)
