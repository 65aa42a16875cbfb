-- Compares jobs and nodes: nodes are started for live jobs that nobody is up for, with accept's own
-- right to wake, or stopped because somebody asked for it and no live job came since.
-- ARGV: token, TTL of the wake in s, nodes, jobs a node works on at once.
-- Returns {how many to start now, whether to stop all, entries in the stream, phases of the nodes
-- as claim_wake, nodes that were asked to start and for how many ms, as {instance id, ms, ...}}.
local token, ttl_s, node_count, slots = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
-- More of them would not make more nodes; the newest, because the oldest expire first.
local jobs = 0
for _, entry in ipairs(redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', node_count * slots)) do
  local id = fields(entry[2]).id
  -- A cancelled job needs no node: should its worker be lost, the sweep answers it.
  if redis.call('EXISTS', cancelled_key(id)) == 0 then
    jobs = jobs + redis.call('EXISTS', job_key(id))
  end
end
local stop = jobs == 0 and redis.call('EXISTS', STOP) or 0
local wake, phases = 0, {}
if redis.call('EXISTS', LATCH) == 0 then
  local ready, coming = count_nodes()
  wake, phases = claim_wake(token, ttl_s, jobs, ready + coming, node_count, slots)
end
local starts, now = redis.call('HGETALL', STARTS), now_ms()
for i = 2, #starts, 2 do starts[i] = now - starts[i] end
return {wake, stop, redis.call('XLEN', STREAM), phases, starts}
