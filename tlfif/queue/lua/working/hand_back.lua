-- Gives an unfinished job to whoever asks next, with a whole life before it.
-- ARGV: consumer, entry, id, key TTL in s, ms for which its worker seems to have been silent, 1 if
-- the delivery counts, 1 if the engine failed that had it, 1 to keep it while no other node is
-- ready.
-- Returns 'handed back', 'kept', 'lost' to another consumer, or 'gone' from the queue.
local consumer, entry, id, ttl_s, silent_ms, counted, crashed, unless_alone = unpack(ARGV)

local function is_alone()
  for node, phase in pairs(live_nodes()) do
    if phase == 'ready' and node ~= consumer:match('^[^:]+') then return false end
  end
  local to_lane = consumer:match('^[^:]+') ~= LANE_OWNER and lane_phase() == 'working'
  return not (to_lane and suits_lane(id, gpu_expected()))
end

local owner, deliveries = holder(entry)
if owner == NOBODY then return 'handed back' end -- the same call again
if not owner and #redis.call('XRANGE', STREAM, entry, entry) == 0 then return 'gone' end
if owner ~= consumer then return 'lost' end
local job = job_key(id)
if redis.call('EXPIRE', job, ttl_s) == 1 and crashed == '1' then
  redis.call('HINCRBY', job, 'crashes', 1)
end
if unless_alone == '1' and is_alone() then return 'kept' end
if counted ~= '1' then deliveries = math.max(0, deliveries - 1) end
redis.call('XCLAIM', STREAM, GROUP, NOBODY, 0, entry,
  'IDLE', silent_ms, 'RETRYCOUNT', deliveries, 'JUSTID')
return 'handed back'
