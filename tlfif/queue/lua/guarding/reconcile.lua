-- Compares jobs and workers: nodes are started for live jobs that nobody is up for, with accept's
-- own right to wake, or stopped because somebody asked for it and no live job came since. The lane
-- is called for jobs that nobody has. ARGV: JSON, see guarding.reconcile.
-- Returns {how many to start now, whether to stop all, entries in the stream, phases of the nodes
-- as claim_wake, nodes that were asked to start and for how many ms, as {instance id, ms, ...},
-- whether to call the lane}.
local asked = cjson.decode(ARGV[1])

-- More of them would not make more nodes; the newest, because the oldest expire first.
local most = asked.node_count * asked.slots
local jobs, short, waits = 0, true, false
local expected = gpu_expected()
for _, entry in ipairs(redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', most)) do
  local id = fields(entry[2]).id
  local suits = redis.call('HGET', job_key(id), 'lane') ~= '0'
  -- A cancelled job needs no node: should its worker be lost, the sweep answers it.
  if redis.call('EXISTS', cancelled_key(id)) == 0 and redis.call('EXISTS', job_key(id)) == 1 then
    jobs, short = jobs + 1, short and suits
    local owner, _, silent_ms = holder(entry[1])
    local unheld = not owner or owner == NOBODY or silent_ms >= asked.let_go_ms
    waits = waits or (unheld and (suits or not expected))
  end
end

local stop = jobs == 0 and redis.call('EXISTS', STOP) or 0
local wake, phases, call = 0, {}, 0
if redis.call('EXISTS', LATCH) == 0 then
  local ready, coming = count_nodes()
  local on_nodes = asked.lane
    and jobs_for_nodes(asked.wakes, asked.wake_after_ms, asked.lane_work_ms, jobs, short) or jobs
  wake, phases = claim_wake(asked.token, asked.wake_ttl_s, on_nodes, ready + coming,
    asked.node_count, asked.slots)
  if asked.lane and waits and ready == 0 then
    call = claim_lane(asked.token, asked.lane_wake_ttl_s, asked.lane_calls, asked.lane_failure_s)
  end
end
local starts, now = redis.call('HGETALL', STARTS), now_ms()
for i = 2, #starts, 2 do starts[i] = now - starts[i] end
return {wake, stop, redis.call('XLEN', STREAM), phases, starts, call}
