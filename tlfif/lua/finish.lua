-- After the final reply is in S3: the job is gone. ARGV: entry, id, why it is buried ('' = it is not), bound of the dead stream.
local entry, id, buried = ARGV[1], ARGV[2], ARGV[3]
redis.call('XACK', STREAM, GROUP, entry)
local removed = redis.call('XDEL', STREAM, entry)
redis.call('DEL', job_key(id))
redis.call('HDEL', OWED, id)
if buried ~= '' and removed == 1 then
  redis.call('XADD', DEAD, 'MAXLEN', '~', ARGV[4], '*', 'id', id, 'reason', buried)
end
return removed
