-- A node goes away in an orderly manner. KEYS: node. ARGV: instance, boot, consumer.
if redis.call('HGET', KEYS[1], 'boot') == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', NODES, ARGV[1])
end
local ok, pending = pcall(redis.call, 'XPENDING', STREAM, GROUP, '-', '+', 1, ARGV[3])
if ok and #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, ARGV[3]) end
return 'OK'
