-- Closes what money no longer allows, until a time, or opens it ('' = open).
-- ARGV: JSON of what is closed and why, until when in epoch s. Returns 1 if that changed what is.
local was = redis.call('EXISTS', CLOSED)
if ARGV[1] == '' then return redis.call('DEL', CLOSED) end
redis.call('SET', CLOSED, ARGV[1])
redis.call('EXPIREAT', CLOSED, ARGV[2])
return 1 - was
