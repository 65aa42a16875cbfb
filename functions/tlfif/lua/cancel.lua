-- Cancels one job of one user: queued -> removed and its reply owed, running -> its worker is told.
-- KEYS: job, cancelled. ARGV: id, sub, TTL of the mark in s.
local job, mark, id, sub, ttl_s = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local values = redis.call('HMGET', job, 'sub', 'entry', 'reply_key')
if values[1] ~= sub then return {'unknown'} end
redis.call('SET', mark, 'user', 'EX', ttl_s)
if holder(values[2]) then return {'running', values[3]} end
owe(id, values[3], 'cancelled', 'user', now_ms())
redis.call('XDEL', STREAM, values[2])
redis.call('DEL', job)
return {'cancelled', values[3]}
