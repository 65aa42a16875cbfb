-- Lets somebody else try to start a node, if the caller still holds the right to. ARGV: token.
if redis.call('GET', WAKE) == ARGV[1] then return redis.call('DEL', WAKE) end
return 0
