-- Keeps what the guardian last did, for GET /status. ARGV: JSON without the time, TTL in s.
local did = cjson.decode(ARGV[1])
did.at = now_ms()
redis.call('SET', GUARD, cjson.encode(did), 'EX', ARGV[2])
return 'OK'
