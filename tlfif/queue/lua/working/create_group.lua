-- (Re)creates the consumer group; entries already in the stream are delivered to it.
local result = redis.pcall('XGROUP', 'CREATE', STREAM, GROUP, '0', 'MKSTREAM')
if result.err and not result.err:find('BUSYGROUP') then return result end
return 'OK'
