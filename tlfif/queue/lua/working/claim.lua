-- Claims jobs for a worker: entries it has just read (ARGV[5] onwards), and entries of workers that
-- have gone silent. The lane leaves alone what does not suit it, and everything once a node is
-- ready or the budget is spent.
-- ARGV: consumer, silence in ms after which an entry is abandoned, how many abandoned ones at most,
-- key TTL in s, entries...
-- Returns {entry, id, reply_key, deliveries, why cancelled or '', the job's hash} per job.
local consumer, idle_ms, count, ttl_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local owner_name, token = consumer:match('^([^:]+):?(.*)$')
local is_lane = owner_name == LANE_OWNER
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

-- Leaves an entry that was read to whoever it suits: as if nobody had read it.
local function leave(entry)
  local owner, deliveries = holder(entry)
  if owner ~= consumer then return end
  redis.call('XCLAIM', STREAM, GROUP, NOBODY, 0, entry,
    'IDLE', idle_ms, 'RETRYCOUNT', math.max(0, deliveries - 1), 'JUSTID')
end

local function is_closed()
  local lane = redis.call('HGET', LANE, 'token')
  return count_nodes() > 0 or redis.call('EXISTS', LATCH) == 1 or (lane and lane ~= token)
end

local closed, expected = is_lane and is_closed(), is_lane and gpu_expected()
local function suits(id) return not is_lane or (not closed and suits_lane(id, expected)) end

for i = 5, #ARGV do
  local found = redis.call('XRANGE', STREAM, ARGV[i], ARGV[i])
  if #found == 0 then
    redis.call('XACK', STREAM, GROUP, ARGV[i])
  elseif suits(fields(found[1][2]).id) then
    add(ARGV[i], fields(found[1][2]))
  else
    leave(ARGV[i])
  end
end

-- The lane looks at each before it takes it. XCLAIM counts a delivery, as XAUTOCLAIM does.
local function adopt_what_suits()
  local after = '-'
  while count > 0 do
    local page = redis.call('XPENDING', STREAM, GROUP, 'IDLE', idle_ms, after, '+', 100)
    for _, pending in ipairs(page) do
      local entry = pending[1]
      local found = redis.call('XRANGE', STREAM, entry, entry)
      if count > 0 and #found > 0 and suits_lane(fields(found[1][2]).id, expected) then
        redis.call('XCLAIM', STREAM, GROUP, consumer, idle_ms, entry)
        add(entry, fields(found[1][2]))
        count = count - 1
      end
    end
    if #page < 100 then return end
    after = '(' .. page[#page][1]
  end
end

if is_lane then
  if not closed then adopt_what_suits() end
  return claimed
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
