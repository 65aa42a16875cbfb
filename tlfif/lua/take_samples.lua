-- Returns the samples kept since the last call, oldest first, and forgets them.
local samples = {}
for _, sample in ipairs(redis.call('LRANGE', 'payload:samples', 0, -1)) do table.insert(samples, 1, sample) end
redis.call('DEL', 'payload:samples')
return samples
