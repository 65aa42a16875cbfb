-- Notes what the guardian saw of the nodes, and counts the boots that failed: enough of them in a
-- row, and no node is started for a while. Each counts once, however often this is sent.
-- ARGV: JSON, see rounds.looked.
local told, now = cjson.decode(ARGV[1]), now_ms()

local function is_counted(node, seen)
  local before = redis.call('HGET', WATCHED, node .. ':seen')
  before = before and cjson.decode(before)
  return before and before.counted == seen.counted
end

for _, failed in ipairs(told.failed) do
  -- Nobody waits for it any more.
  redis.call('HDEL', STARTS, failed.node)
  if redis.call('EXISTS', STARTS) == 0 and redis.call('GET', WAKE) == 'kept' then
    redis.call('DEL', WAKE)
  end
  if not is_counted(failed.node, cjson.decode(told.seen[failed.node])) then
    redis.call('HSETNX', BREAKER, 'since', now)
    redis.call('HSET', BREAKER, 'why', failed.why, 'node', failed.node)
    if redis.call('HINCRBY', BREAKER, 'failed', 1) >= told.bound then
      redis.call('HSET', BREAKER, 'until', now + told.open_ms)
    end
    redis.call('EXPIRE', BREAKER, told.breaker_s)
    note_news('failed_boots')
    -- The node itself knows better why, if it could say so.
    if redis.call('EXISTS', START_FAILURE) == 0 then
      note_failure(START_FAILURE, 'BootFailed', 'node ' .. failed.node .. ': ' .. failed.why,
        told.failure_s)
    end
  end
end

local nodes = {}
for node, seen in pairs(told.seen) do
  nodes[node] = true
  redis.call('HSET', WATCHED, node .. ':seen', seen)
end
for _, field in ipairs(redis.call('HKEYS', WATCHED)) do
  local node = field:match('^(.*):')
  if node and not nodes[node] then redis.call('HDEL', WATCHED, field) end
end
redis.call('EXPIRE', WATCHED, told.watched_s)
return 'OK'
