-- Cancels one job of one user: queued -> removed and its reply owed, running -> its worker is told.
-- KEYS: job, cancelled. ARGV: id, sub, TTL of the mark in s.
local job, mark, id, sub, ttl_s = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local values = redis.call('HMGET', job, 'sub', 'entry', 'reply_key')
if values[1] ~= sub then
  -- The same call again: cancelled already, and its reply still to be written.
  local owed = redis.call('HGET', OWED, id)
  local reply = owed and cjson.decode(owed)
  if reply and reply.status == 'cancelled' and reply.reply_key == 'replies/' .. sub .. '/' .. id .. '.json' then
    return {'cancelled', reply.reply_key}
  end
  return {'unknown'}
end
redis.call('SET', mark, 'user', 'EX', ttl_s)
if holder(values[2]) then return {'running', values[3]} end
owe(id, values[3], 'cancelled', 'user', now_ms())
redis.call('XDEL', STREAM, values[2])
redis.call('DEL', job)
return {'cancelled', values[3]}
