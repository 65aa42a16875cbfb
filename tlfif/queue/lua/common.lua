-- Shared by every script: prepended to each, after the keys of tlfif/names.py.
-- Times are milliseconds of the server's own clock.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Phases of the nodes whose heartbeat is fresh: {instance id = phase}. Drops stale members.
local function live_nodes()
  local phases = {}
  for _, node in ipairs(redis.call('ZRANGE', NODES, 0, -1)) do
    local phase = redis.call('HGET', node_key(node), 'phase')
    if phase then phases[node] = phase else redis.call('ZREM', NODES, node) end
  end
  return phases
end

local function count_nodes()
  local ready, coming = 0, 0
  for _, phase in pairs(live_nodes()) do
    if phase == 'ready' then
      ready = ready + 1
    elseif phase ~= 'draining' then
      coming = coming + 1
    end
  end
  return ready, coming
end

-- How many nodes to start now for `jobs`: 0 unless this caller claims (or already holds) the right
-- to wake. And then the phases of the nodes there are, as {instance id, phase, ...}.
local function claim_wake(token, ttl_s, jobs, up, node_count, slots)
  local wanted = math.min(node_count, math.ceil(jobs / slots))
  if up >= wanted then return 0, {} end
  local claimed = redis.call('SET', WAKE, token, 'NX', 'EX', ttl_s)
  if not claimed and redis.call('GET', WAKE) ~= token then return 0, {} end
  local phases = {}
  for node, phase in pairs(live_nodes()) do
    phases[#phases + 1] = node
    phases[#phases + 1] = phase
  end
  return wanted - up, phases
end

-- The 90th percentile of a list of measured ms, '' while there is none.
local function p90(list)
  local measured = redis.call('LRANGE', list, 0, -1)
  if #measured == 0 then return '' end
  for i, ms in ipairs(measured) do measured[i] = tonumber(ms) end
  table.sort(measured)
  return tostring(measured[math.ceil(#measured * 0.9)])
end

local function boot_estimate() return p90(BOOTS) end

-- The consumer that holds an entry, how often it was delivered and for how many ms its holder has
-- been silent; nil when nobody has it.
local function holder(entry)
  local ok, pending = pcall(redis.call, 'XPENDING', STREAM, GROUP, entry, entry, 1)
  if ok and #pending > 0 then return pending[1][2], pending[1][4], pending[1][3] end
  return nil
end

-- A final reply that no worker will write: kept until somebody has written it.
local function add_pending_reply(id, reply_key, status, reason, at)
  local reply = {reply_key = reply_key, status = status, reason = reason, at = at}
  redis.call('HSET', PENDING_REPLIES, id, cjson.encode(reply))
end

-- Why the last start of a node came to nothing; the next node that is ready makes it forgotten.
local function note_failure(code, message, ttl_s)
  redis.call('HSET', START_FAILURE, 'code', code, 'message', message, 'at', now_ms())
  redis.call('EXPIRE', START_FAILURE, ttl_s)
end

-- --- the instant lane

-- Its phase (loading, working), false when there is none.
local function lane_phase() return redis.call('HGET', LANE, 'phase') end

-- Whether it may be counted on: it is there, or nothing says that calling it would be in vain.
local function lane_serves() return lane_phase() or redis.call('EXISTS', LANE_FAILURE) == 0 end

-- Whether a node is up, coming or being woken: then it gets what the lane is slow at.
local function gpu_expected()
  local ready, coming = count_nodes()
  return ready + coming > 0 or redis.call('EXISTS', WAKE, STARTS) > 0
end

-- Whether the lane is to take a job, whose hash says whether it is short enough for it. What has
-- expired only wants its reply.
local function suits_lane(id)
  local short = redis.call('HGET', job_key(id), 'lane')
  return short ~= '0' or not gpu_expected()
end

local function note_lane_failure(code, message, ttl_s)
  redis.call('HSET', LANE_FAILURE, 'code', code, 'message', message, 'at', now_ms())
  redis.call('EXPIRE', LANE_FAILURE, ttl_s)
end

-- Whether this caller is to call the lane: 1 if there is none, it serves, and nobody else calls it.
-- What was called `bound` times in a row and never heard of is broken.
local function claim_lane(token, ttl_s, bound, failure_s)
  if lane_phase() or not lane_serves() then return 0 end
  if not redis.call('SET', LANE_WAKE, token, 'NX', 'EX', ttl_s) then
    return redis.call('GET', LANE_WAKE) == token and 1 or 0
  end
  local calls = redis.call('HINCRBY', LANE_CALLS, 'calls', 1)
  redis.call('EXPIRE', LANE_CALLS, failure_s)
  if calls <= bound then return 1 end
  redis.call('DEL', LANE_WAKE, LANE_CALLS)
  note_lane_failure('LaneSilent', 'it was called ' .. bound .. ' times and was not heard of; see '
    .. 'the log of the function cpu_worker', failure_s)
  return 0
end

-- For how many of the jobs nodes are to be woken. `short`: the lane is to take them.
local function jobs_for_nodes(policy, wake_after_ms, work_ms, jobs, short)
  if policy == 'never' then return 0 end
  if policy == 'always' or not lane_serves() then return jobs end
  local each_ms = tonumber(p90(LANE_WORKS)) or work_ms
  return (not short or jobs * each_ms > wake_after_ms) and jobs or 0
end

local function fields(entry)
  local values = {}
  for i = 1, #entry, 2 do values[entry[i]] = entry[i + 1] end
  return values
end
