-- The only way in, all or nothing: idempotency -> latch -> rate limit -> backlog cap -> somebody
-- to answer -> job + TTL -> stream -> wake. KEYS: job, rate, idempotency ('' = none). ARGV: JSON,
-- see accepting.accept.
local job, rate, idempotency = KEYS[1], KEYS[2], KEYS[3]
local new = cjson.decode(ARGV[1])

local hex = '[0-9a-f]'
local uuid4 = table.concat({
  hex:rep(8), hex:rep(4), '4' .. hex:rep(3), '[89ab]' .. hex:rep(3), hex:rep(12),
}, '%-')
if not job:match('^' .. job_key(uuid4) .. '$') then
  return redis.error_reply('BADKEY job key ' .. job .. ' is not ' .. job_key('{uuid4}'))
end
if job ~= job_key(new.id) then
  return redis.error_reply('BADKEY job key ' .. job .. ' is not that of job ' .. new.id)
end

local now = now_ms()
local ready, coming = count_nodes()
local lane = new.lane -- nil or false: there is none
local expected = gpu_expected()
-- No node may be started, and none is there or coming: the lane is to answer whatever there is.
local unlit = not expected and startable(new.node_count) == 0
if lane and unlit then lane.wakes = 'never' end
local length = new.bytes or #new.prompt
local short = not lane or lane.wakes == 'never' or length <= lane.prompt_bytes
local laned = lane and short and ready == 0 and lane_serves()
local worked_on = ready > 0 or (laned and lane.wakes ~= 'always' and lane_phase() == 'working')
local state = worked_on and 'queued' or 'starting'

local function expires_at(created_at) return tonumber(created_at) + new.ttl_s * 1000 end

-- Of whoever will answer.
local function estimate()
  local measured = p90(laned and LANE_FIRSTS or BOOTS)
  return laned and measured == '' and tostring(lane.first_ms) or measured
end

-- How many nodes the caller is to start, the phases of those there are, and whether to call the
-- lane.
local function claim_workers()
  local jobs = jobs_for_nodes(lane, redis.call('XLEN', STREAM), short)
  local wake, phases =
    claim_wake(new.id, new.wake_ttl_s, jobs, ready + coming, new.node_count, new.slots)
  if not laned then return wake, phases, 0 end
  return wake, phases, claim_lane(new.id, lane.wake_ttl_s, lane.calls, lane.failure_s)
end

local created = redis.call('HGET', job, 'created_at')
if created then -- the same call again, after a lost connection: accepted already
  local wake, phases, call = claim_workers()
  return {'accepted', state, wake, expires_at(created), estimate(), phases, call}
end
-- The caller has stopped waiting and answered 503: a refused job leaves nothing behind.
if now > new.deadline_ms then return {'late'} end

if idempotency ~= '' then
  local first = redis.call('HMGET', idempotency,
    'fingerprint', 'id', 'state', 'created_at', 'estimate')
  if first[1] and first[1] ~= new.fingerprint then return {'conflict'} end
  if first[1] then
    redis.call('HSET', idempotency, 'repeated', 1) -- promised twice: withdraw keeps it
    return {'repeated', first[2], first[3], expires_at(first[4]), first[5]}
  end
end

local latch = redis.call('GET', LATCH)
if latch then return {'latched', latch} end

-- The newest accepted calls of this user, newest first: exact sliding windows of a second and a
-- minute.
local recent = redis.call('LRANGE', rate, 0, new.sustained - 1)
local wait = 0
if recent[new.burst] then wait = math.max(wait, recent[new.burst] + 1000 - now) end
if recent[new.sustained] then wait = math.max(wait, recent[new.sustained] + 60000 - now) end
if wait > 0 then return {'limited', wait} end

-- A pending reply takes room as a waiting job does, should S3 refuse them for long.
local backlog = redis.call('XLEN', STREAM) + redis.call('HLEN', PENDING_REPLIES)
if backlog >= new.backlog_cap then return {'full', backlog} end

if unlit and not laned then
  local closed = redis.call('GET', CLOSED)
  if closed then return {'closed', closed} end
  if broken_ms() > 0 then
    local since, why = unpack(redis.call('HMGET', BREAKER, 'since', 'why'))
    return {'broken', cjson.encode({since = tonumber(since), why = why}), broken_ms()}
  end
end
if lane and lane.wakes == 'never' and not laned and ready == 0 then
  return {'unserved', redis.call('HGET', LANE_FAILURE, 'message') or '',
    math.max(0, redis.call('PTTL', LANE_FAILURE))}
end

redis.call('HSET', job, 'id', new.id, 'sub', new.sub, 'prompt', new.prompt,
  'idle_minutes', new.idle_minutes, 'reply_key', new.reply_key, 'created_at', now,
  'options', new.options, 'lane', short and '1' or '0')
if new.messages then redis.call('HSET', job, 'messages', new.messages) end
redis.call('EXPIRE', job, new.ttl_s)
local entry = redis.call('XADD', STREAM, '*', 'id', new.id, 'reply_key', new.reply_key)
redis.call('HSET', job, 'entry', entry)
redis.call('LPUSH', rate, now)
redis.call('LTRIM', rate, 0, new.sustained - 1)
redis.call('PEXPIRE', rate, 60000)

local wake, phases, call = claim_workers()
local waits_ms = state == 'starting' and estimate() or ''
if idempotency ~= '' then
  redis.call('HSET', idempotency, 'fingerprint', new.fingerprint, 'id', new.id, 'state', state,
    'created_at', now, 'estimate', waits_ms)
  redis.call('EXPIRE', idempotency, new.ttl_s)
end
return {'accepted', state, wake, expires_at(now), waits_ms, phases, call}
