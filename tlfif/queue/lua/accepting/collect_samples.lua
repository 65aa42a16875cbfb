-- Returns the samples kept since the last call, oldest first, and forgets them.
local samples = {}
for _, sample in ipairs(redis.call('LRANGE', SAMPLES, 0, -1)) do
  table.insert(samples, 1, sample)
end
redis.call('DEL', SAMPLES)
return samples
