-- Claims jobs for a worker: entries it has just read (ARGV[5] onwards), and entries of workers that
-- have gone silent.
-- ARGV: consumer, silence in ms after which an entry is abandoned, how many abandoned ones at most,
-- key TTL in s, entries...
-- Returns {entry, id, reply_key, deliveries, why cancelled or '', the job's hash} per job.
local consumer, idle_ms, count, ttl_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local claimed = {}

local function add(entry, values)
  local owner, deliveries = holder(entry)
  if owner ~= consumer then return end
  local key = job_key(values.id)
  redis.call('EXPIRE', key, ttl_s)
  local cancelled = redis.call('GET', cancelled_key(values.id))
  local job = redis.call('HGETALL', key)
  if #job > 0 and not cancelled then
    redis.call('DEL', STOP) -- work came since somebody wanted the nodes to stop
  end
  claimed[#claimed + 1] = {entry, values.id, values.reply_key, deliveries, cancelled or '', job}
end

for i = 5, #ARGV do
  local found = redis.call('XRANGE', STREAM, ARGV[i], ARGV[i])
  if #found > 0 then
    add(ARGV[i], fields(found[1][2]))
  else
    redis.call('XACK', STREAM, GROUP, ARGV[i])
  end
end
-- One XAUTOCLAIM looks at 10 * COUNT entries only: those of busy workers must not hide an abandoned
-- one behind them.
local cursor = '0-0'
while count > 0 and cursor do
  local page = redis.call('XAUTOCLAIM', STREAM, GROUP, consumer, idle_ms, cursor, 'COUNT', count)
  for _, entry in ipairs(page[2]) do add(entry[1], fields(entry[2])) end
  count, cursor = count - #page[2], page[1] ~= '0-0' and page[1]
end
return claimed
