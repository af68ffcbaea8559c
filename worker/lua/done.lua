#!lua flags=allow-oom
-- A chunk's result is stored: the first one counts, whoever has the lease by now. After the last one all are verified.
-- What is counted is looked at before the job's state: a call whose answer was lost comes again after the job has ended.
-- ARGV: prefix, job id, chunk, rows completed, rows failed, sha256 of the result file, its cost, '1' where set aside
-- Returns: 'counted', 'double' (another result was first), 'over' (the job has ended) or 'gone' (for good)
local id, chunk, cost = ARGV[2], ARGV[3], tonumber(ARGV[7])
local status = get(id, 'status')
if not status or status == 'expired' then
    return 'gone'
elseif redis.call('HEXISTS', key('done', id), chunk) == 1 then
    return 'double'
elseif status ~= 'queued' and status ~= 'in_progress' and status ~= 'cancelling' then
    return 'over'
end
redis.call('HSET', key('done', id), chunk, ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])
redis.call('HINCRBY', key('job', id), 'completed', ARGV[4])
redis.call('HINCRBY', key('job', id), 'failed', ARGV[5])
redis.call('HINCRBY', prefix .. 'totals', 'completed', ARGV[4]) -- a counter, which nothing takes back
redis.call('HINCRBY', prefix .. 'totals', 'failed', ARGV[5])
if ARGV[8] == '1' then
    redis.call('SADD', key('aside', id), chunk)
end
redis.call('ZREM', prefix .. 'due', id .. ':' .. chunk)
for _, kind in ipairs({'leases', 'attempts', 'failures'}) do
    redis.call('HDEL', key(kind, id), chunk)
end
-- The claim took the average for the cost.
local owner, more = get(id, 'owner'), cost - average_cost(id)
for _, turn in ipairs({{key('turns', owner), id, key('job', id)}, {prefix .. 'owners', owner, key('owner', owner)}}) do
    if not redis.call('ZADD', turn[1], 'XX', 'INCR', more, turn[2]) then
        redis.call('HINCRBY', turn[3], 'turn', more)
    end
end
if redis.call('SREM', key('again', id), chunk) == 1 and waiting(id) == 0 then
    leave(id)
end
if status == 'cancelling' then
    finish_cancelled(id, now())
elseif redis.call('HLEN', key('done', id)) == tonumber(get(id, 'chunks')) then
    finalize(id, now())
end
return 'counted'
