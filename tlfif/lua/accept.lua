-- The only way in: idempotency -> latch -> rate limit -> backlog cap -> job + TTL -> stream -> wake, all or nothing.
-- KEYS: job, rate, idempotency ('' = none). ARGV: see queue.accept.
local job, rate, idempotency = KEYS[1], KEYS[2], KEYS[3]
local id, sub, prompt, idle_minutes, reply_key, options = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local ttl_s, wake_ttl_s, burst, sustained = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
local backlog_cap, node_count, slots = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local deadline, fingerprint = tonumber(ARGV[14]), ARGV[15]

local hex = '[0-9a-f]'
local uuid4 = hex:rep(8) .. '%-' .. hex:rep(4) .. '%-4' .. hex:rep(3) .. '%-[89ab]' .. hex:rep(3) .. '%-' .. hex:rep(12)
if not job:match('^job:' .. uuid4 .. '$') then
  return redis.error_reply('BADKEY job key ' .. job .. ' is not job:{uuid4}')
end
if job ~= job_key(id) then return redis.error_reply('BADKEY job key ' .. job .. ' is not that of job ' .. id) end

local now = now_ms()
local ready, coming = count_nodes()
local state = ready > 0 and 'queued' or 'starting'
local created = redis.call('HGET', job, 'created_at')
if created then -- the same call again, after a lost connection: accepted already
  local wake, phases = take_wake(id, wake_ttl_s, redis.call('XLEN', STREAM), ready + coming, node_count, slots)
  return {'accepted', state, wake, tonumber(created), tonumber(created) + ttl_s * 1000, boot_estimate(), phases}
end
-- The caller has stopped waiting and answered 503: a refused job leaves nothing behind.
if now > deadline then return {'late'} end

if idempotency ~= '' then
  local first = redis.call('HMGET', idempotency, 'fingerprint', 'id', 'state', 'created_at', 'estimate')
  if first[1] and first[1] ~= fingerprint then return {'conflict'} end
  if first[1] then
    redis.call('HSET', idempotency, 'repeated', 1) -- promised twice: withdraw keeps it
    return {'repeated', first[2], first[3], tonumber(first[4]), tonumber(first[4]) + ttl_s * 1000, first[5]}
  end
end

local latch = redis.call('GET', LATCH)
if latch then return {'latched', latch} end

-- The newest accepted calls of this user, newest first: exact sliding windows of a second and a minute.
local recent = redis.call('LRANGE', rate, 0, sustained - 1)
local wait = 0
if recent[burst] then wait = math.max(wait, recent[burst] + 1000 - now) end
if recent[sustained] then wait = math.max(wait, recent[sustained] + 60000 - now) end
if wait > 0 then return {'limited', wait} end

-- A reply that is owed takes room as a waiting job does, should S3 refuse them for long.
local backlog = redis.call('XLEN', STREAM) + redis.call('HLEN', OWED)
if backlog >= backlog_cap then return {'full', backlog} end

redis.call('HSET', job, 'id', id, 'sub', sub, 'prompt', prompt, 'idle_minutes', idle_minutes, 'reply_key', reply_key,
  'created_at', now, 'options', options)
redis.call('EXPIRE', job, ttl_s)
redis.call('HSET', job, 'entry', redis.call('XADD', STREAM, '*', 'id', id, 'reply_key', reply_key))
redis.call('LPUSH', rate, now)
redis.call('LTRIM', rate, 0, sustained - 1)
redis.call('PEXPIRE', rate, 60000)

local wake, phases = take_wake(id, wake_ttl_s, redis.call('XLEN', STREAM), ready + coming, node_count, slots)
local estimate = state == 'starting' and boot_estimate() or ''
if idempotency ~= '' then
  redis.call('HSET', idempotency, 'fingerprint', fingerprint, 'id', id, 'state', state, 'created_at', now, 'estimate', estimate)
  redis.call('EXPIRE', idempotency, ttl_s)
end
return {'accepted', state, wake, now, now + ttl_s * 1000, estimate, phases}
