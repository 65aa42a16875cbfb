-- What the guardian last knew of the month's money, and the lane's seconds of a month.
-- ARGV: the month. Returns {JSON or '', seconds}.
return {redis.call('GET', MONEY) or '', redis.call('HGET', LANE_USE, ARGV[1]) or '0'}
