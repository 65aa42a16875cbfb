-- Renews the leases this consumer still holds.
-- ARGV: consumer, key TTL in s, then entry, id per job. Returns per job: 'held', 'lost' to another
-- consumer, 'gone' from the queue, or why it was cancelled ('user', 'stopped').
local consumer, ttl_s, answers = ARGV[1], ARGV[2], {}

-- A queue that came back with older data may know a job and not who has it: it is whoever says so.
local function claim_again(entry)
  local group = redis.pcall('XGROUP', 'CREATE', STREAM, GROUP, '0')
  if type(group) == 'table' and group.err and not group.err:find('BUSYGROUP') then return end
  redis.call('XCLAIM', STREAM, GROUP, consumer, 0, entry, 'FORCE', 'JUSTID')
end

local function renew(entry, id)
  local owner = holder(entry)
  if owner and owner ~= consumer then return 'lost' end
  if owner then
    redis.call('XCLAIM', STREAM, GROUP, consumer, 0, entry, 'JUSTID') -- resets its idle time only
  elseif #redis.call('XRANGE', STREAM, entry, entry) > 0 then
    claim_again(entry)
  else
    return redis.call('GET', cancelled_key(id)) or 'gone'
  end
  redis.call('EXPIRE', job_key(id), ttl_s)
  return redis.call('GET', cancelled_key(id)) or 'held'
end

for i = 3, #ARGV, 2 do answers[#answers + 1] = renew(ARGV[i], ARGV[i + 1]) end
return answers
