-- Renews the leases this consumer still holds.
-- ARGV: consumer, key TTL in s, then entry, id per job. Returns per job: 'held', 'lost',
-- or why it was cancelled ('user', 'stopped').
local consumer, ttl_s, answers = ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 2 do
  local entry, id = ARGV[i], ARGV[i + 1]
  if holder(entry) ~= consumer then
    answers[#answers + 1] = 'lost'
  else
    redis.call('XCLAIM', STREAM, GROUP, consumer, 0, entry, 'JUSTID') -- resets its idle time only
    redis.call('EXPIRE', job_key(id), ttl_s)
    answers[#answers + 1] = redis.call('GET', cancelled_key(id)) or 'held'
  end
end
return answers
