#!lua flags=allow-oom
-- A worker still works on its chunk.
-- ARGV: prefix, job id, chunk, token, lease (ms)
-- Returns: 1, or 0 where it must stop: cancelled, ended, or the lease is another's
local prefix, id, chunk = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', prefix .. 'job:' .. id, 'status') ~= 'in_progress'
    or redis.call('HGET', prefix .. 'leases:' .. id, chunk) ~= ARGV[4] then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', prefix .. 'due', now + tonumber(ARGV[5]), id .. ':' .. chunk)
return 1
