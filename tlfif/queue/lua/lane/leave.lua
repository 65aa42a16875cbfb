-- The lane goes: for want of work, unless some has come, or because its time is over.
-- ARGV: token, 1 if its time is over, ms after which an entry is abandoned, TTL of a call in s,
-- month, s that it has run since it last said so.
-- Returns 'left', 'work' (it is to stay), 'call' (it is to call its successor, and has the right
-- to), or 'lost' (another is the lane).
local token, over, idle_ms, ttl_s, month, used_s = unpack(ARGV)

local function has_work()
  if count_nodes() > 0 or redis.call('EXISTS', LATCH) == 1 then return false end
  local ok, groups = pcall(redis.call, 'XINFO', 'GROUPS', STREAM)
  local delivered = '-'
  for _, group in ipairs(ok and groups or {}) do
    local known = fields(group)
    if known.name == GROUP then delivered = '(' .. known['last-delivered-id'] end
  end
  local function suits(entry)
    local found = redis.call('XRANGE', STREAM, entry, entry)
    return #found > 0 and suits_lane(fields(found[1][2]).id)
  end
  for _, entry in ipairs(redis.call('XRANGE', STREAM, delivered, '+')) do
    if suits(entry[1]) then return true end
  end
  local found, silent = pcall(redis.call, 'XPENDING', STREAM, GROUP, 'IDLE', idle_ms, '-', '+', 500)
  for _, pending in ipairs(found and silent or {}) do
    if suits(pending[1]) then return true end
  end
  return false
end

local known = redis.call('HGET', LANE, 'token')
local work = has_work()
if known == token and work and over ~= '1' then return 'work' end
redis.call('HINCRBYFLOAT', LANE_USE, month, used_s)
redis.call('EXPIRE', LANE_USE, 400 * 86400)
if known and known ~= token then return 'lost' end
redis.call('DEL', LANE)
if not work then return 'left' end
return redis.call('SET', LANE_WAKE, token, 'NX', 'EX', ttl_s) and 'call' or 'left'
