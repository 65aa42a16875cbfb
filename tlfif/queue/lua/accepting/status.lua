-- Everything the console shows, in one read.
-- Returns {nodes JSON, depth, estimate, waking, latch, money JSON, failure JSON}.
local nodes = {}
for _, node in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do
  local phase, in_flight, timings =
    unpack(redis.call('HMGET', node_key(node), 'phase', 'in_flight', 'timings'))
  if phase then
    in_flight = tonumber(in_flight or '0')
    nodes[#nodes + 1] = {id = node, phase = phase, in_flight = in_flight, timings = timings or '{}'}
  end
end
local code, message, at = unpack(redis.call('HMGET', START_FAILURE, 'code', 'message', 'at'))
return {
  #nodes > 0 and cjson.encode(nodes) or '[]',
  redis.call('XLEN', STREAM),
  boot_estimate(),
  redis.call('EXISTS', WAKE),
  redis.call('GET', LATCH) or '',
  redis.call('GET', MONEY) or '',
  code and cjson.encode({code = code, message = message, at = tonumber(at)}) or '',
}
