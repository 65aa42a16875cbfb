-- Removes an accepted job as if it had never been sent, unless it is sure of an answer or already
-- promised one: a worker has it, a node is there or coming or promised by EC2, the lane is there or
-- called, or a repeat of the call was told that it is accepted. Releases the caller's wake. A short
-- mark gives the same call, sent again after a lost connection, the same answer.
-- KEYS: job, rate, idempotency ('' = none), withdrawn. ARGV: id, TTL of the mark in s, 1 if the
-- lane may answer it.
local job, rate, idempotency, mark = unpack(KEYS)
local id, ttl_s, laned = ARGV[1], ARGV[2], ARGV[3] == '1'
if redis.call('GET', WAKE) == id then redis.call('DEL', WAKE) end
local entry, created_at = unpack(redis.call('HMGET', job, 'entry', 'created_at'))
if not entry then return redis.call('EXISTS', mark) == 1 and 'withdrawn' or 'gone' end
local ready, coming = count_nodes()
-- One that somebody wanted to stop is promised to nobody.
local promised = redis.call('EXISTS', STARTS) == 1 and redis.call('EXISTS', STOP) == 0
if holder(entry) or ready + coming > 0 or promised then return 'kept' end
if laned and redis.call('EXISTS', LANE, LANE_WAKE) > 0 then return 'kept' end
if idempotency ~= '' and redis.call('HEXISTS', idempotency, 'repeated') == 1 then return 'kept' end
redis.call('XDEL', STREAM, entry)
redis.call('LREM', rate, 1, created_at)
redis.call('DEL', job)
if idempotency ~= '' then redis.call('DEL', idempotency) end
redis.call('SET', mark, 1, 'EX', ttl_s)
return 'withdrawn'
