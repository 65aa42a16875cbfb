-- What GET /status says of the month's money, and the guardian goes on from.
-- ARGV: JSON, its TTL in s.
redis.call('SET', MONEY, ARGV[1], 'EX', ARGV[2])
return 'OK'
