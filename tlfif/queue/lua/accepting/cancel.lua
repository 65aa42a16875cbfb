-- Cancels one job of one user: queued -> removed, its reply pending; running -> its worker is told.
-- ARGV: id, sub, TTL of the mark in s. Returns {outcome, reply key}, or {'unknown'}.
local id, sub, ttl_s = ARGV[1], ARGV[2], ARGV[3]
local owner, entry, key = unpack(redis.call('HMGET', job_key(id), 'sub', 'entry', 'reply_key'))
if owner ~= sub then
  -- The same call again: cancelled already, and its reply still to be written.
  local pending = redis.call('HGET', PENDING_REPLIES, id)
  local reply = pending and cjson.decode(pending)
  if reply and reply.status == 'cancelled' and reply.reply_key == reply_key(sub, id) then
    return {'cancelled', reply.reply_key}
  end
  return {'unknown'}
end
redis.call('SET', cancelled_key(id), 'user', 'EX', ttl_s)
if holder(entry) then return {'running', key} end
add_pending_reply(id, key, 'cancelled', 'user', now_ms())
redis.call('XDEL', STREAM, entry)
redis.call('DEL', job_key(id))
return {'cancelled', key}
