-- Everything the console shows, in one read.
-- Returns {nodes JSON, depth, estimate, waking, latch, money JSON, failure JSON, lane JSON,
-- the lane's use, the last boot's steps, the breaker, what the guardian last did}.
local nodes = {}
for _, node in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do
  local phase, in_flight, timings =
    unpack(redis.call('HMGET', node_key(node), 'phase', 'in_flight', 'timings'))
  if phase then
    in_flight = tonumber(in_flight or '0')
    nodes[#nodes + 1] = {id = node, phase = phase, in_flight = in_flight, timings = timings or '{}'}
  end
end
local function failure(key)
  local code, message, at = unpack(redis.call('HMGET', key, 'code', 'message', 'at'))
  return code and {code = code, message = message, at = tonumber(at)}
end

local start_failure = failure(START_FAILURE)
local lane = {
  phase = lane_phase() or '',
  in_flight = tonumber(redis.call('HGET', LANE, 'in_flight') or '0'),
  estimate = p90(LANE_FIRSTS),
  failure = failure(LANE_FAILURE) or nil,
}
return {
  #nodes > 0 and cjson.encode(nodes) or '[]',
  redis.call('XLEN', STREAM),
  boot_estimate(),
  redis.call('EXISTS', WAKE),
  redis.call('GET', LATCH) or '',
  redis.call('GET', MONEY) or '',
  start_failure and cjson.encode(start_failure) or '',
  cjson.encode(lane),
  redis.call('HGETALL', LANE_USE),
  redis.call('LINDEX', BOOT_STEPS, 0) or '',
  redis.call('HGETALL', BREAKER),
  redis.call('GET', GUARD) or '',
}
