#!lua flags=allow-oom
-- A worker has looked at all result files of a job: it ends, or those that are missing or damaged are made again.
-- ARGV: prefix, job id, token, damaged chunks ...
-- Returns: the status now, or false where the worker was no longer asked
local id = ARGV[2]
if get(id, 'status') ~= 'finalizing' or redis.call('HGET', key('leases', id), VERIFY) ~= ARGV[3] then
    return false
end
redis.call('HDEL', key('leases', id), VERIFY)
redis.call('ZREM', prefix .. 'due', id .. ':' .. VERIFY)
for place = 4, #ARGV do
    uncount(id, ARGV[place])
end
if #ARGV > 3 then
    redis.call('HSET', key('job', id), 'status', 'in_progress')
    enter(id)
    return 'in_progress'
end
local record = redis.call('HMGET', key('job', id), 'total', 'completed', 'failed')
if tonumber(record[1]) == record[2] + record[3] then
    finish(id, 'completed', now())
else
    finish(id, 'failed', now(), 'rows completed and failed do not add up to the total')
end
return get(id, 'status')
