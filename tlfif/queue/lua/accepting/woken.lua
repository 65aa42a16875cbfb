-- Notes what came of a wake, and lets somebody else try to start a node, if the caller still holds
-- the right to and does not keep it.
-- ARGV: token, 1 to keep the right, code ('' = no failure), message, TTL of the starts and of the
-- failure in s, ids of the nodes that EC2 promised to start...
local token, kept, code, message, starts_s, failure_s = unpack(ARGV)
for i = 7, #ARGV do
  redis.call('HSET', STARTS, ARGV[i], now_ms())
  redis.call('EXPIRE', STARTS, starts_s)
end
if code ~= '' then note_failure(START_FAILURE, code, message, failure_s) end
if kept ~= '1' and redis.call('GET', WAKE) == token then redis.call('DEL', WAKE) end
return 'OK'
