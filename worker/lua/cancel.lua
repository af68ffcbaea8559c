#!lua flags=allow-oom
-- No further chunk of a job starts; those that run stop at their next sign of life. What is done is kept.
-- ARGV: prefix, job id
-- Returns: the status, or false where there is no such job
local prefix, id = ARGV[1], ARGV[2]
local job = prefix .. 'job:' .. id
local record = redis.call('HMGET', job, 'status', 'chunks')
local status = record[1]
if status ~= 'queued' and status ~= 'in_progress' then
    return status
end
local leases = prefix .. 'leases:' .. id
for chunk = 0, tonumber(record[2]) - 1 do
    if redis.call('HEXISTS', leases, chunk) == 0 then
        redis.call('ZREM', prefix .. 'due', id .. ':' .. chunk)
    end
end
if redis.call('HLEN', leases) > 0 then
    redis.call('HSET', job, 'status', 'cancelling')
    return 'cancelling'
end
local time = redis.call('TIME')
redis.call('HSET', job, 'status', 'cancelled', 'finished_at', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SREM', prefix .. 'unfinished', id)
return 'cancelled'
