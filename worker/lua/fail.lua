#!lua flags=allow-oom
-- A job that can never be whole ends here.
-- ARGV: prefix, job id, reason
local prefix, id = ARGV[1], ARGV[2]
local job = prefix .. 'job:' .. id
local status = redis.call('HGET', job, 'status')
if status == 'queued' or status == 'in_progress' or status == 'cancelling' then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('HSET', job, 'status', 'failed', 'reason', ARGV[3], 'finished_at', now)
    redis.call('SREM', prefix .. 'unfinished', id)
end
return 1
