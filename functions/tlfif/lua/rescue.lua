-- What must be done about the nodes: started for live jobs that nobody is up for, with accept's own right to wake, or
-- stopped because somebody asked for it. ARGV: token, TTL of the wake in s, nodes, jobs a node works on at once.
-- Returns {how many to start now, whether to stop all, entries in the stream}.
local token, ttl_s, node_count, slots = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stop, depth = redis.call('EXISTS', STOP), redis.call('XLEN', STREAM)
if redis.call('EXISTS', LATCH) == 1 then return {0, stop, depth} end
-- More of them would not make more nodes; the newest, because the oldest expire first.
local jobs = 0
for _, entry in ipairs(redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', node_count * slots)) do
  jobs = jobs + redis.call('EXISTS', job_key(fields(entry[2]).id))
end
local ready, coming = count_nodes()
return {take_wake(token, ttl_s, jobs, ready + coming, node_count, slots), stop, depth}
