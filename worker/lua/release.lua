#!lua flags=allow-oom
-- A worker gives its chunk back undone: it failed, was told to stop, or shuts down.
-- ARGV: prefix, job id, chunk, token, due again (ms from now)
local prefix, id, chunk = ARGV[1], ARGV[2], ARGV[3]
local leases, member = prefix .. 'leases:' .. id, id .. ':' .. chunk
if redis.call('HGET', leases, chunk) ~= ARGV[4] then
    return 0
end
redis.call('HDEL', leases, chunk)
local job = prefix .. 'job:' .. id
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HGET', job, 'status') == 'in_progress' then
    redis.call('ZADD', prefix .. 'due', now + tonumber(ARGV[5]), member)
    redis.call('HSET', prefix .. 'released:' .. id, chunk, 1)
    return 1
end
redis.call('ZREM', prefix .. 'due', member)
if redis.call('HGET', job, 'status') == 'cancelling' and redis.call('HLEN', leases) == 0 then
    redis.call('HSET', job, 'status', 'cancelled', 'finished_at', now)
    redis.call('SREM', prefix .. 'unfinished', id)
end
return 1
