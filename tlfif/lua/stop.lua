-- Cancels everything unfinished and makes every node draining, so that a later job wakes one. The wish is kept for the
-- guardian, until a worker takes a later job: a node that is still starting cannot be stopped yet.
-- ARGV: TTL of the marks in s. Returns {id, reply_key, entry or ''} per job; entry = a worker has it.
local now, jobs = now_ms(), {}
redis.call('DEL', WAKE)
redis.call('SET', STOP, now, 'EX', ARGV[1])
for node in pairs(live_nodes()) do redis.call('HSET', 'node:' .. node, 'phase', 'draining') end
for _, entry in ipairs(redis.call('XRANGE', STREAM, '-', '+')) do
  local job = fields(entry[2])
  redis.call('SET', 'cancelled:' .. job.id, 'stopped', 'EX', ARGV[1])
  if holder(entry[1]) then
    jobs[#jobs + 1] = {job.id, job.reply_key, entry[1]}
  else
    owe(job.id, job.reply_key, 'cancelled', 'stopped', now)
    redis.call('XDEL', STREAM, entry[1])
    redis.call('DEL', job_key(job.id))
    jobs[#jobs + 1] = {job.id, job.reply_key, ''}
  end
end
return jobs
