-- Notes how far the search for lost replies has come. What was left running in one pass is looked at
-- again in the next run. ARGV: cursor ('' = at the end), replies left running, ms to the next search.
if redis.call('EXISTS', SEARCH) == 0 then return 'lost' end -- with the memory: it begins again
redis.call('HSET', SEARCH, 'cursor', ARGV[1])
local left = redis.call('HINCRBY', SEARCH, 'left', ARGV[2])
if ARGV[1] == '' then
  redis.call('HSET', SEARCH, 'next', now_ms() + (left > 0 and 0 or ARGV[3]), 'left', 0)
end
return 'OK'
