-- Notes how far the search for lost replies has come. While one pass leaves something running, the
-- next run begins another. ARGV: cursor ('' = the end), how many are left running, ms to the next
-- search. Returns 'OK', or 'lost' when it begins again.
if redis.call('EXISTS', SEARCH) == 0 then return 'lost' end
redis.call('HSET', SEARCH, 'cursor', ARGV[1])
local left = redis.call('HINCRBY', SEARCH, 'left', ARGV[2])
if ARGV[1] == '' then
  redis.call('HSET', SEARCH, 'next', now_ms() + (left > 0 and 0 or ARGV[3]), 'left', 0)
end
return 'OK'
