-- Keeps a redacted payload while its router version is young. Returns 1 while samples are wanted,
-- 0 from then on. An older version, back by a rollback, is not young again.
-- ARGV: version, payload JSON, how long in ms, how many.
local version, now = tonumber(ARGV[1]), now_ms()
local known = redis.call('HMGET', SAMPLING, 'version', 'since')
local since = tonumber(known[2])
if not known[1] or version > tonumber(known[1]) then
  since = now
  redis.call('HSET', SAMPLING, 'version', version, 'since', since)
end
if now - since >= tonumber(ARGV[3]) then return 0 end
redis.call('LPUSH', SAMPLES, ARGV[2])
redis.call('LTRIM', SAMPLES, 0, ARGV[4] - 1)
redis.call('EXPIRE', SAMPLES, 3600)
return 1
