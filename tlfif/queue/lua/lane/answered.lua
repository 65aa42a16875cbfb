-- What the lane took for an answer: ARGV: ms from acceptance to its first token ('' = unknown), ms
-- of the engine's time, bound of the lists.
for i, list in ipairs({LANE_FIRSTS, LANE_WORKS}) do
  if ARGV[i] ~= '' then
    redis.call('LPUSH', list, ARGV[i])
    redis.call('LTRIM', list, 0, ARGV[3] - 1)
    redis.call('EXPIRE', list, 90 * 86400)
  end
end
return 'OK'
