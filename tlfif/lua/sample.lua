-- Keeps a redacted payload while its router version is young. ARGV: version, payload JSON, how long in ms, how many.
-- Returns 1 while samples are wanted, 0 from then on. An older version, back by a rollback, is not young again.
local version, now = tonumber(ARGV[1]), now_ms()
local known = redis.call('HMGET', 'payload:window', 'version', 'since')
local since = tonumber(known[2])
if not known[1] or version > tonumber(known[1]) then
  since = now
  redis.call('HSET', 'payload:window', 'version', version, 'since', since)
end
if now - since >= tonumber(ARGV[3]) then return 0 end
redis.call('LPUSH', 'payload:samples', ARGV[2])
redis.call('LTRIM', 'payload:samples', 0, ARGV[4] - 1)
redis.call('EXPIRE', 'payload:samples', 3600)
return 1
