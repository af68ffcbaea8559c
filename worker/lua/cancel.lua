#!lua flags=allow-oom
-- No further chunk of a job starts; those that run stop at their next sign of life. What is done is kept.
-- ARGV: prefix, job id
-- Returns: the status, or false where there is no such job
local id, at = ARGV[2], now()
local status = get(id, 'status')
if status == 'queued' or status == 'in_progress' then
    leave(id)
    redis.call('HSET', key('job', id), 'status', 'cancelling', 'cancelling_at', at)
    finish_cancelled(id, at)
end
return get(id, 'status')
