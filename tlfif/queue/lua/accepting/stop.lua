-- Cancels everything unfinished and makes every node draining, so that a later job wakes one. The
-- wish is kept for the guardian, until a worker claims a later job: a node that is still starting
-- cannot be stopped yet. ARGV: TTL of the marks in s.
-- Returns {id, reply_key, entry or ''} per job; entry = a worker has it.
local now, ttl_s, jobs = now_ms(), ARGV[1], {}
redis.call('DEL', WAKE, LANE_WAKE)
redis.call('SET', STOP, now, 'EX', ttl_s)
redis.call('HSET', WATCHED, 'stop', now) -- a boot that ends for this did not fail
for node in pairs(live_nodes()) do redis.call('HSET', node_key(node), 'phase', 'draining') end
for _, entry in ipairs(redis.call('XRANGE', STREAM, '-', '+')) do
  local job = fields(entry[2])
  redis.call('SET', cancelled_key(job.id), 'stopped', 'EX', ttl_s)
  local owner = holder(entry[1])
  if owner and owner ~= NOBODY then
    jobs[#jobs + 1] = {job.id, job.reply_key, entry[1]}
  else
    add_pending_reply(job.id, job.reply_key, 'cancelled', 'stopped', now)
    pcall(redis.call, 'XACK', STREAM, GROUP, entry[1])
    redis.call('XDEL', STREAM, entry[1])
    redis.call('DEL', job_key(job.id))
    jobs[#jobs + 1] = {job.id, job.reply_key, ''}
  end
end
return jobs
