#!lua
-- A job that failed or was cancelled goes on: what is missing, and what was set aside, may be claimed again.
-- ARGV: prefix, job id, most unfinished jobs, most of one owner, the queue's key, window
-- Returns: {'resumed', messages to send}, {'full'}, {'owner full'}, or {its status or '', 0} where it cannot
local id, at = ARGV[2], now()
local record = redis.call('HMGET', key('job', id), 'status', 'owner', 'next', 'chunks')
if record[1] ~= 'failed' and record[1] ~= 'cancelled' then
    return {record[1] or '', 0}
elseif redis.call('SCARD', prefix .. 'unfinished') >= tonumber(ARGV[3]) then
    return {'full'}
elseif tonumber(redis.call('HGET', key('owner', record[2]), 'jobs') or 0) >= tonumber(ARGV[4]) then
    return {'owner full'}
end
for _, chunk in ipairs(redis.call('SMEMBERS', key('aside', id))) do
    uncount(id, chunk)
end
for chunk = 0, record[3] - 1 do
    if redis.call('HEXISTS', key('done', id), chunk) == 0 then
        redis.call('SADD', key('again', id), chunk)
    end
    redis.call('ZREM', prefix .. 'due', id .. ':' .. chunk)
end
redis.call('HDEL', key('job', id), 'finished_at', 'finalizing_at', 'cancelling_at', 'reason')
redis.call('HSET', key('job', id), 'status', 'queued', 'resumed_at', at, 'webhook_state', '')
redis.call('ZREM', prefix .. 'hooks', id)
redis.call('SADD', prefix .. 'unfinished', id)
owe(record[2], 1, 0)
if redis.call('HLEN', key('done', id)) == tonumber(record[4]) then
    finalize(id, at)
else
    enter(id)
end
return {'resumed', math.max(1, hints(ARGV[5], tonumber(ARGV[6]), waiting(id)))}
