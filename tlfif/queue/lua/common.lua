-- Shared by every script: prepended to each, after the keys of tlfif/names.py.
-- Times are milliseconds of the server's own clock.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function fields(entry)
  local values = {}
  for i = 1, #entry, 2 do values[entry[i]] = entry[i + 1] end
  return values
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

-- For how many ms no node is started yet because the last boots all failed.
local function broken_ms()
  local tried_at = redis.call('HGET', BREAKER, 'until')
  return tried_at and math.max(0, tried_at - now_ms()) or 0
end

-- How many nodes there may be, of `node_count`: none is started where money ends or boots fail, and
-- after failures one has to be ready before there are more.
local function startable(node_count)
  if redis.call('EXISTS', CLOSED) == 1 or broken_ms() > 0 then return 0 end
  return redis.call('HEXISTS', BREAKER, 'until') == 1 and math.min(1, node_count) or node_count
end

-- How many nodes to start now for `jobs`: 0 unless this caller claims (or already holds) the right
-- to wake. And then the phases of the nodes there are, as {instance id, phase, ...}.
-- A right that is `kept` for nodes that EC2 promised to start is free for whoever wants more nodes
-- than those.
local function claim_wake(token, ttl_s, jobs, up, node_count, slots)
  local wanted = math.min(startable(node_count), math.ceil(jobs / slots))
  if up >= wanted then return 0, {} end
  if not redis.call('SET', WAKE, token, 'NX', 'EX', ttl_s) then
    local held = redis.call('GET', WAKE)
    local more = held == 'kept' and up + redis.call('HLEN', STARTS) < wanted
    if not more and held ~= token then return 0, {} end
    if more then redis.call('SET', WAKE, token, 'EX', ttl_s) end
  end
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

-- Counts what the guardian tells CloudWatch: jobs by how they ended (done, failed, expired,
-- cancelled), `dead` letters, `failed_boots`.
local function note_news(what)
  redis.call('HINCRBY', NEWS, what, 1)
  redis.call('EXPIRE', NEWS, 3600)
end

-- For how many ms the job has waited that nobody has worked on for longest: since it came, if
-- nobody has read it; else since its worker fell silent, which is looked for from `silent_ms` on.
local function unserved_ms(silent_ms)
  local now, delivered, waits = now_ms(), '-', 0
  local ok, groups = pcall(redis.call, 'XINFO', 'GROUPS', STREAM)
  for _, group in ipairs(ok and groups or {}) do
    local known = fields(group)
    if known.name == GROUP then delivered = '(' .. known['last-delivered-id'] end
  end
  local waiting = redis.call('XRANGE', STREAM, delivered, '+', 'COUNT', 1)[1]
  if waiting then waits = now - waiting[1]:match('^%d+') end
  local found, silent = pcall(redis.call, 'XPENDING', STREAM, GROUP, 'IDLE', silent_ms, '-', '+', 1)
  if found and #silent > 0 then waits = math.max(waits, silent[1][3]) end
  return math.max(0, waits)
end

-- A final reply that no worker will write: kept until somebody has written it.
local function add_pending_reply(id, reply_key, status, reason, at)
  local reply = {reply_key = reply_key, status = status, reason = reason, at = at}
  redis.call('HSET', PENDING_REPLIES, id, cjson.encode(reply))
  note_news(status)
end

-- Why a node's last start came to nothing, or the lane is of no use (START_FAILURE, LANE_FAILURE):
-- forgotten when the next one works.
local function note_failure(key, code, message, ttl_s)
  redis.call('HSET', key, 'code', code, 'message', message, 'at', now_ms())
  redis.call('EXPIRE', key, ttl_s)
end

-- --- the instant lane. `lane`, where it is a parameter, is the policy of tlfif/queue/lane.py.

-- Its phase (loading, working), false when there is none.
local function lane_phase() return redis.call('HGET', LANE, 'phase') end

-- Whether it may be counted on: it is there, or nothing says that calling it would be in vain.
local function lane_serves() return lane_phase() or redis.call('EXISTS', LANE_FAILURE) == 0 end

-- Whether a node is up, coming or being woken: then it gets what the lane is slow at. Whoever wakes
-- in vain calls the lane instead.
local function gpu_expected()
  local ready, coming = count_nodes()
  return ready + coming > 0 or redis.call('EXISTS', WAKE, STARTS) > 0
end

-- Whether the lane is to take a job, whose hash says if it is short enough; `expected` as above.
-- What has expired only wants its reply.
local function suits_lane(id, expected)
  return not expected or redis.call('HGET', job_key(id), 'lane') ~= '0'
end

-- Whether some live job that suits the lane is nobody's: unread, handed back, or of a worker that
-- has been silent for `let_go_ms`. Looks at all there are, a hundred at a time.
local function lane_is_wanted(let_go_ms)
  local expected = gpu_expected()
  local function is_wanted(job)
    local id = job and fields(job[2]).id
    return id and redis.call('EXISTS', job_key(id)) == 1
      and redis.call('EXISTS', cancelled_key(id)) == 0 and suits_lane(id, expected)
  end
  local function any(page_after, entry_of)
    local after = '-'
    while true do
      local page = page_after(after)
      for _, each in ipairs(page) do
        if is_wanted(entry_of(each)) then return true end
      end
      if #page < 100 then return false end
      after = '(' .. page[#page][1]
    end
  end
  local function stored(pending)
    return redis.call('XRANGE', STREAM, pending[1], pending[1])[1]
  end

  local ok, groups = pcall(redis.call, 'XINFO', 'GROUPS', STREAM)
  local delivered, is_group = '-', false
  for _, group in ipairs(ok and groups or {}) do
    local known = fields(group)
    if known.name == GROUP then
      delivered, is_group = '(' .. known['last-delivered-id'], true
    end
  end
  return any(function(after)
    return redis.call('XRANGE', STREAM, after == '-' and delivered or after, '+', 'COUNT', 100)
  end, function(entry) return entry end) or is_group and (any(function(after)
    return redis.call('XPENDING', STREAM, GROUP, after, '+', 100, NOBODY)
  end, stored) or any(function(after)
    return redis.call('XPENDING', STREAM, GROUP, 'IDLE', let_go_ms, after, '+', 100)
  end, stored))
end

-- Whether this caller is to call the lane: 1 if there is none, it serves, and nobody else calls it.
-- What was called `bound` times in a row and never got to work is broken.
local function claim_lane(token, ttl_s, bound, failure_s)
  if redis.call('EXISTS', LANE, LANE_FAILURE, LATCH) > 0 then return 0 end
  if not redis.call('SET', LANE_WAKE, token, 'NX', 'EX', ttl_s) then
    return redis.call('GET', LANE_WAKE) == token and 1 or 0
  end
  local calls = redis.call('INCR', LANE_CALLS)
  redis.call('EXPIRE', LANE_CALLS, failure_s)
  if calls <= tonumber(bound) then return 1 end
  redis.call('DEL', LANE_WAKE, LANE_CALLS)
  note_failure(LANE_FAILURE, 'LaneSilent', 'the instant lane was called ' .. bound .. ' times and '
    .. 'never got to work; see the log of the function cpu_worker', failure_s)
  return 0
end

-- What it takes for one job.
local function lane_work_ms(lane)
  return math.max(1, tonumber(p90(LANE_WORKS)) or lane.work_ms)
end

-- For how many of the jobs nodes are to be woken. `short`: the lane is to take them. One that has
-- not answered its last call is not counted on.
local function jobs_for_nodes(lane, jobs, short)
  if not lane or lane.wakes == 'always' then return jobs end
  if lane.wakes == 'never' then return 0 end
  local doubtful = tonumber(redis.call('GET', LANE_CALLS) or 0) > 1
  if not short or doubtful or not lane_serves() then return jobs end
  return jobs * lane_work_ms(lane) > lane.wake_after_ms and jobs or 0
end

-- Adds to the seconds that it ran in a month, once for each `nonce`: a call may be sent twice.
local function add_lane_use(month, used_s, nonce)
  if redis.call('HGET', LANE_USE, 'last') == nonce then return end
  redis.call('HINCRBYFLOAT', LANE_USE, month, used_s)
  redis.call('HSET', LANE_USE, 'last', nonce)
  redis.call('EXPIRE', LANE_USE, 400 * 86400)
  local months = redis.call('HKEYS', LANE_USE)
  table.sort(months) -- and `last` behind them
  if #months > 14 then redis.call('HDEL', LANE_USE, months[1]) end
end
