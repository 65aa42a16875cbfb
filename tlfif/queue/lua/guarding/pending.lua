-- Replies pending for longer than whoever caused them should have needed.
-- ARGV: cursor, age in ms, about how many.
-- Returns {next cursor or '' at the end, {id, reply_key, status, reason} per reply}.
local now, late = now_ms(), {}
local cursor = ARGV[1] == '' and 0 or ARGV[1]
local page = redis.call('HSCAN', PENDING_REPLIES, cursor, 'COUNT', ARGV[3])
for id, text in pairs(fields(page[2])) do
  local reply = cjson.decode(text)
  if now - reply.at >= tonumber(ARGV[2]) then
    late[#late + 1] = {id, reply.reply_key, reply.status, reply.reason}
  end
end
return {page[1] == '0' and '' or page[1], late}
