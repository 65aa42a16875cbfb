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

-- The 90th percentile of measured boots in ms, '' while there is none.
local function boot_estimate()
  local boots = redis.call('LRANGE', BOOTS, 0, -1)
  if #boots == 0 then return '' end
  for i, ms in ipairs(boots) do boots[i] = tonumber(ms) end
  table.sort(boots)
  return tostring(boots[math.ceil(#boots * 0.9)])
end

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

local function fields(entry)
  local values = {}
  for i = 1, #entry, 2 do values[entry[i]] = entry[i + 1] end
  return values
end
