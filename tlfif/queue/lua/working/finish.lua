-- Removes a job whose final reply is in S3.
-- ARGV: entry, id, why it is buried ('' = it is not), bound of the dead stream.
local entry, id, buried, bound = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('XACK', STREAM, GROUP, entry)
local removed = redis.call('XDEL', STREAM, entry)
redis.call('DEL', job_key(id))
redis.call('HDEL', PENDING_REPLIES, id)
if buried ~= '' and removed == 1 then
  redis.call('XADD', DEAD_STREAM, 'MAXLEN', '~', bound, '*', 'id', id, 'reason', buried)
end
return removed
