-- Where to look on for replies of jobs that the queue lost while they ran. What is kept of the
-- search is lost with all else, and no restart keeps a server's run id: then whatever was accepted,
-- claimed or ended last may be forgotten. ARGV: ms after a loss before which nobody looks.
-- Returns {1 if it is time, cursor ('' = the beginning)}.
local now = now_ms()
local server = redis.call('INFO', 'server'):match('run_id:(%x+)') or ''
local known, next_at, cursor = unpack(redis.call('HMGET', SEARCH, 'server', 'next', 'cursor'))
if known == server then return {now >= tonumber(next_at) and 1 or 0, cursor} end
redis.call('DEL', SEARCH)
redis.call('HSET', SEARCH, 'server', server, 'next', now + ARGV[1], 'cursor', '', 'left', 0)
return {0, ''}
