-- What a queue that answers may hide: refused writes, full memory, jobs that nobody works on, a
-- guardian that does not come.
-- ARGV: ms without a worker after which a job is looked for, the guardian's name in RUNS.
-- Returns {why a write was refused or '', memory in percent, ms that the job without a worker for
-- longest has waited, ms since the guardian's last run}.
local now = now_ms()
local write = redis.pcall('SET', HEALTH_PROBE, now, 'EX', 60)
local refused = type(write) == 'table' and write.err or ''
-- Counted from here where nothing is known: a new queue, or one that lost its memory.
if refused == '' then redis.call('HSETNX', RUNS, ARGV[2], now) end

local memory = redis.call('INFO', 'memory')
local used, most = memory:match('used_memory:(%d+)'), memory:match('maxmemory:(%d+)')
local percent = tonumber(most or '0') > 0 and math.floor(100 * used / most) or 0

local ran = redis.call('HGET', RUNS, ARGV[2]) or now
return {refused, percent, unserved_ms(ARGV[1]), math.max(0, now - ran)}
