-- Which availability zones had no machine for a node a while ago.
return redis.call('SMEMBERS', EMPTY_ZONES)
