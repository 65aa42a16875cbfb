-- Ends what nobody will: jobs that expired before anybody claimed them, or after their worker was
-- lost. Oldest first, a bounded number a call; the last page also removes consumers of nodes that
-- are gone. ARGV: cursor ('' = the oldest), how many, job TTL in ms, silence in ms after which a
-- worker is lost.
-- Returns {next cursor or '' at the end, {id, reply_key, status, reason} per job}: their replies
-- are pending from now on.
local cursor, count = ARGV[1], tonumber(ARGV[2])
local ttl_ms, lost_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local now, ended = now_ms(), {}
local not_taken, sign = 'no worker took it in time', ': '
for _, failure in ipairs({START_FAILURE, LANE_FAILURE}) do
  local why = redis.call('HGET', failure, 'message')
  if why then not_taken, sign = not_taken .. sign .. why, ' ' end
end

local function end_job(entry, job, reason)
  local cancelled = redis.call('GET', cancelled_key(job.id))
  local status = cancelled and 'cancelled' or 'expired'
  add_pending_reply(job.id, job.reply_key, status, cancelled or reason, now)
  pcall(redis.call, 'XACK', STREAM, GROUP, entry)
  redis.call('XDEL', STREAM, entry)
  ended[#ended + 1] = {job.id, job.reply_key, status, cancelled or reason}
end

-- An entry's id begins with the time it was added at: nothing younger than its TTL has expired.
local younger = string.format('(%.0f', now - ttl_ms)
local oldest = cursor == '' and '-' or '(' .. cursor
local page = redis.call('XRANGE', STREAM, oldest, younger, 'COUNT', count)
for _, entry in ipairs(page) do
  local job = fields(entry[2])
  if redis.call('EXISTS', job_key(job.id)) == 0 then
    local owner, deliveries, silent_ms = holder(entry[1])
    if not owner or (owner == NOBODY and deliveries == 0) then
      end_job(entry[1], job, not_taken)
    elseif silent_ms > lost_ms then
      end_job(entry[1], job, 'its worker was lost')
    end
  end
end
if #page == count then return {page[count][1], ended} end

local ok, consumers = pcall(redis.call, 'XINFO', 'CONSUMERS', STREAM, GROUP)
for _, consumer in ipairs(ok and consumers or {}) do
  local known = fields(consumer)
  local node = node_key(known.name:match('^[^:]+'))
  if known.pending == 0 and known.idle > lost_ms and redis.call('EXISTS', node) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, known.name)
  end
end
return {'', ended}
