-- The owed replies of these jobs are written: forget them. ARGV: ids.
return redis.call('HDEL', OWED, unpack(ARGV))
