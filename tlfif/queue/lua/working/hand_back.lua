-- Gives an unfinished job to whoever asks next, as if it had not been delivered.
-- ARGV: consumer, entry, abandoned after ms.
local consumer, entry, idle_ms = ARGV[1], ARGV[2], ARGV[3]
local owner, deliveries = holder(entry)
if owner ~= consumer then return 'lost' end
redis.call('XCLAIM', STREAM, GROUP, consumer, 0, entry,
  'IDLE', idle_ms, 'RETRYCOUNT', math.max(0, deliveries - 1), 'JUSTID')
return 'handed back'
