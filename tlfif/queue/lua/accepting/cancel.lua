-- Cancels one job of one user: queued -> removed, its reply pending; running -> its worker is told.
-- A job that runs and is not known here was lost: a worker that may still have it is told, and its
-- reply is pending, should there be none.
-- A job was handed back, or its lease not renewed because its worker is dead: nobody would hear.
-- ARGV: id, sub, TTL of the mark in s, 1 if its reply says that it runs, ms after which a lease
-- that was not renewed is nobody's.
-- Returns {outcome, reply key}, or {'unknown'}.
local id, sub, ttl_s, runs = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local user, entry, key = unpack(redis.call('HMGET', job_key(id), 'sub', 'entry', 'reply_key'))
if user ~= sub then
  key = reply_key(sub, id)
  local pending = redis.call('HGET', PENDING_REPLIES, id)
  local reply = pending and cjson.decode(pending)
  -- The same call again: cancelled already, and its reply still to be written.
  if reply and reply.status == 'cancelled' and reply.reply_key == key then
    return {'cancelled', key}
  end
  if not runs then return {'unknown'} end
  redis.call('SET', cancelled_key(id), 'user', 'EX', ttl_s)
  -- Ended otherwise already, if there is a reply pending: the first ending counts.
  if not reply then add_pending_reply(id, key, 'cancelled', 'user', now_ms()) end
  return {'running', key}
end
redis.call('SET', cancelled_key(id), 'user', 'EX', ttl_s)
local there = #redis.call('XRANGE', STREAM, entry, entry) > 0
local owner, _, silent_ms = holder(entry)
if owner and owner ~= NOBODY and silent_ms < tonumber(ARGV[5]) and there then
  return {'running', key}
end
add_pending_reply(id, key, 'cancelled', 'user', now_ms())
pcall(redis.call, 'XACK', STREAM, GROUP, entry)
redis.call('XDEL', STREAM, entry)
redis.call('DEL', job_key(id))
return {'cancelled', key}
