-- Which jobs the queue will bring to an end. ARGV: ids. Returns per id 'known', or else why it was
-- cancelled, or ''.
local answers = {}
for i, id in ipairs(ARGV) do
  if redis.call('EXISTS', job_key(id)) + redis.call('HEXISTS', PENDING_REPLIES, id) > 0 then
    answers[i] = 'known'
  else
    answers[i] = redis.call('GET', cancelled_key(id)) or ''
  end
end
return answers
