-- Forgets the starts of nodes that are stopped again. Nobody waits for them any more: the right to
-- wake is free, unless another node was asked to start.
-- ARGV: code ('' = somebody stopped them), message, TTL of the failure in s, ids...
local code, message, failure_s = unpack(ARGV)
redis.call('HDEL', STARTS, unpack(ARGV, 4))
if code ~= '' then note_failure(START_FAILURE, code, message, failure_s) end
if redis.call('EXISTS', STARTS) == 0 then redis.call('DEL', WAKE) end
return 'OK'
