-- Ends a run: another may begin, if this one still has the lease. ARGV: function, token, 1 if it
-- has done its work.
local key = run_key(ARGV[1])
if ARGV[3] == '1' then redis.call('HSET', RUNS, ARGV[1], now_ms()) end
if redis.call('GET', key) == ARGV[2] then return redis.call('DEL', key) end
return 0
