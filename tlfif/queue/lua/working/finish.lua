-- Removes a job whose final reply is in S3.
-- ARGV: entry, id, why it is buried ('' = it is not), bound of the dead stream, how it ended.
local entry, id, buried, bound, status = unpack(ARGV)
redis.call('XACK', STREAM, GROUP, entry)
local removed = redis.call('XDEL', STREAM, entry)
redis.call('DEL', job_key(id))
redis.call('HDEL', PENDING_REPLIES, id)
if removed == 1 then note_news(status) end
if buried ~= '' and removed == 1 then
  note_news('dead')
  redis.call('XADD', DEAD_STREAM, 'MAXLEN', '~', bound, '*', 'id', id, 'reason', buried)
end
return removed
