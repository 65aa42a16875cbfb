-- Claims the one run that a scheduled function may be in. ARGV: function, token, TTL in s.
-- Returns 1, or 0 while another run is under way. The same call sent again gets the same answer.
local key, token = run_key(ARGV[1]), ARGV[2]
if redis.call('SET', key, token, 'NX', 'EX', ARGV[3]) then return 1 end
return redis.call('GET', key) == token and 1 or 0
