-- Takes an accepted job back as if it had never been sent, unless a worker has it. Releases the caller's wake.
-- KEYS: job, rate, idempotency ('' = none). ARGV: id.
local job, rate, idempotency, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
if redis.call('GET', WAKE) == id then redis.call('DEL', WAKE) end
local values = redis.call('HMGET', job, 'entry', 'created_at')
if not values[1] then return 'gone' end
if holder(values[1]) then return 'taken' end
redis.call('XDEL', STREAM, values[1])
redis.call('LREM', rate, 1, values[2])
redis.call('DEL', job)
if idempotency ~= '' then redis.call('DEL', idempotency) end
return 'withdrawn'
