-- Notes what came of a wake, and lets somebody else try to start a node, if the caller still holds
-- the right to and does not keep it.
-- ARGV: token, 1 to keep the right, code ('' = no failure), message, TTL of the starts in s, of the
-- failure and the empty zones in s, how many zones were empty, those, ids of the nodes that EC2
-- promised to start...
local token, kept, code, message, starts_s, failure_s, empty = unpack(ARGV)
local first_started = 8 + tonumber(empty)
for i = 8, first_started - 1 do
  redis.call('SADD', EMPTY_ZONES, ARGV[i])
  redis.call('EXPIRE', EMPTY_ZONES, failure_s)
end
for i = first_started, #ARGV do
  redis.call('HSET', STARTS, ARGV[i], now_ms())
  redis.call('EXPIRE', STARTS, starts_s)
end
if code ~= '' then note_failure(START_FAILURE, code, message, failure_s) end
if redis.call('GET', WAKE) == token then
  if kept ~= '1' then
    -- While another node comes there is no hurry, and EC2 is not asked with each job.
    if code == '' or redis.call('EXISTS', STARTS) == 0 then redis.call('DEL', WAKE) end
  elseif #ARGV >= first_started then
    redis.call('SET', WAKE, 'kept', 'KEEPTTL') -- for these alone, see claim_wake
  end
end
return 'OK'
