-- Forgets the pending replies of these jobs: they are written. ARGV: ids.
return redis.call('HDEL', PENDING_REPLIES, unpack(ARGV))
