-- Everything the console shows, in one read: {nodes JSON, depth, estimate, waking, latch, money JSON}.
local nodes = {}
for _, node in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do
  local values = redis.call('HMGET', 'node:' .. node, 'phase', 'in_flight', 'timings')
  if values[1] then
    nodes[#nodes + 1] = {id = node, phase = values[1], in_flight = tonumber(values[2] or '0'), timings = values[3] or '{}'}
  end
end
return {#nodes > 0 and cjson.encode(nodes) or '[]', redis.call('XLEN', STREAM), boot_estimate(),
  redis.call('EXISTS', WAKE), redis.call('GET', LATCH) or '', redis.call('GET', 'money') or ''}
