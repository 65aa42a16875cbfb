-- What the guardian tells CloudWatch each minute; what happened since is forgotten here.
-- ARGV: ms of silence after which a job's worker is none.
-- Returns {entries in the stream, ms that the job without a worker for longest has waited, nodes
-- ready, nodes expected, what happened as {what, how often or JSON, ...}, money JSON or ''}.
local ready, coming = count_nodes()
local news = redis.call('HGETALL', NEWS)
redis.call('DEL', NEWS)
return {
  redis.call('XLEN', STREAM),
  unserved_ms(ARGV[1]),
  ready,
  coming + redis.call('HLEN', STARTS),
  news,
  redis.call('GET', MONEY) or '',
}
