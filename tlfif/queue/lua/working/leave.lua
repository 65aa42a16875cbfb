-- Removes a node that goes away in an orderly manner. ARGV: instance, boot, consumer.
local instance, boot, consumer = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', node_key(instance), 'boot') == boot then
  redis.call('DEL', node_key(instance))
  redis.call('ZREM', NODES, instance)
end
local ok, pending = pcall(redis.call, 'XPENDING', STREAM, GROUP, '-', '+', 1, consumer)
if ok and #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', STREAM, GROUP, consumer) end
return 'OK'
