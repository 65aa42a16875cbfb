-- Compares jobs and workers: nodes are started for live jobs that nobody is up for, with accept's
-- own right to wake, or stopped because somebody asked for it and no live job came since. The lane
-- is called for jobs that nobody has. ARGV: JSON, see guarding.reconcile.
-- Returns {how many to start now, whether to stop all, entries in the stream, phases of the nodes
-- as claim_wake, nodes that were asked to start and for how many ms, as {instance id, ms, ...},
-- whether to call the lane}.
local asked = cjson.decode(ARGV[1])
local lane = asked.lane -- false: there is none

-- More of them would not make more nodes; the newest, because the oldest expire first.
local most = asked.node_count * asked.slots
if lane and lane.wakes == 'backlog' then
  most = math.max(most, math.ceil(lane.wake_after_ms / lane_work_ms(lane)) + 1)
end

local function is_held(entry)
  local owner, _, silent_ms = holder(entry)
  return owner and owner ~= NOBODY and silent_ms < asked.let_go_ms
end

local jobs, short = 0, true
for _, entry in ipairs(redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', most)) do
  local id = fields(entry[2]).id
  -- A cancelled job needs no node: should its worker be lost, the sweep answers it.
  if redis.call('EXISTS', cancelled_key(id)) == 0 and redis.call('EXISTS', job_key(id)) == 1 then
    jobs = jobs + 1
    short = short and (not lane or suits_lane(id, true) or is_held(entry[1]))
  end
end

local stop = jobs == 0 and redis.call('EXISTS', STOP) or 0
local wake, phases, call = 0, {}, 0
if redis.call('EXISTS', LATCH) == 0 then
  local ready, coming = count_nodes()
  wake, phases = claim_wake(asked.token, asked.wake_ttl_s, jobs_for_nodes(lane, jobs, short),
    ready + coming, asked.node_count, asked.slots)
  if lane and ready == 0 and not lane_phase() and lane_is_wanted(asked.let_go_ms) then
    call = claim_lane(asked.caller, lane.wake_ttl_s, lane.calls, lane.failure_s)
  end
end
local starts, now = redis.call('HGETALL', STARTS), now_ms()
for i = 2, #starts, 2 do starts[i] = now - starts[i] end
return {wake, stop, redis.call('XLEN', STREAM), phases, starts, call}
