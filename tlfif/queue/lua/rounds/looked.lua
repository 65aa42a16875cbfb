-- Notes what the guardian saw of the nodes, and counts the boots that failed: enough of them in a
-- row, and no node is started for a while. Each counts once, however often this is sent. A node
-- that was launched after the last of them and turns ready ends the row.
-- ARGV: JSON, see rounds.looked.
local told, now = cjson.decode(ARGV[1]), now_ms()

local function seen_before(node)
  local before = redis.call('HGET', WATCHED, node .. ':seen')
  return before and cjson.decode(before)
end

local function is_counted(node, seen)
  local before = seen_before(node)
  return before and before.counted == seen.counted
end

-- Its heartbeat ends the row too, but not in images that were baked before there was one.
local function ends_row(node, seen)
  local failed_at = redis.call('HMGET', BREAKER, 'at', 'since')
  failed_at = failed_at[1] or failed_at[2]
  if not failed_at or not seen.ready or seen.launched * 1000 <= tonumber(failed_at) then
    return false
  end
  local before = seen_before(node)
  return not (before and before.ready and before.launched == seen.launched)
end

for _, failed in ipairs(told.failed) do
  -- Nobody waits for it any more.
  redis.call('HDEL', STARTS, failed.node)
  if redis.call('EXISTS', STARTS) == 0 and redis.call('GET', WAKE) == 'kept' then
    redis.call('DEL', WAKE)
  end
  if not is_counted(failed.node, cjson.decode(told.seen[failed.node])) then
    redis.call('HSETNX', BREAKER, 'since', now)
    redis.call('HSET', BREAKER, 'why', failed.why, 'node', failed.node, 'at', now)
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
  if ends_row(node, cjson.decode(seen)) then redis.call('DEL', BREAKER) end
  redis.call('HSET', WATCHED, node .. ':seen', seen)
end
for _, field in ipairs(redis.call('HKEYS', WATCHED)) do
  local node = field:match('^(.*):')
  if node and not nodes[node] then redis.call('HDEL', WATCHED, field) end
end
redis.call('EXPIRE', WATCHED, told.watched_s)
return 'OK'
