#!lua flags=allow-oom
-- A chunk's result is stored: the first one counts. The last one ends the job.
-- What is counted is looked at before the job's state: a call whose answer was lost comes again after the job has ended.
-- ARGV: prefix, job id, chunk, rows completed, rows failed, sha256 of the result file
-- Returns: 'counted', 'double' (another result was first) or 'over' (job ended or gone)
local prefix, id, chunk = ARGV[1], ARGV[2], ARGV[3]
local job = prefix .. 'job:' .. id
if redis.call('HEXISTS', prefix .. 'done:' .. id, chunk) == 1 then
    return 'double'
end
local status = redis.call('HGET', job, 'status')
if status ~= 'in_progress' and status ~= 'cancelling' then
    return 'over'
end
redis.call('HSET', prefix .. 'done:' .. id, chunk, ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])
redis.call('ZREM', prefix .. 'due', id .. ':' .. chunk)
redis.call('HDEL', prefix .. 'leases:' .. id, chunk)
local completed = redis.call('HINCRBY', job, 'completed', ARGV[4])
local failed = redis.call('HINCRBY', job, 'failed', ARGV[5])
local record = redis.call('HMGET', job, 'chunks', 'total')
local whole = redis.call('HLEN', prefix .. 'done:' .. id) == tonumber(record[1])
local stopped = status == 'cancelling' and redis.call('HLEN', prefix .. 'leases:' .. id) == 0
if whole or stopped then
    local time = redis.call('TIME')
    local ending = whole and 'completed' or 'cancelled'
    if whole and completed + failed ~= tonumber(record[2]) then
        ending = 'failed'
        redis.call('HSET', job, 'reason', 'rows completed and failed do not add up to the total')
    end
    redis.call('HSET', job, 'status', ending, 'finished_at', time[1] * 1000 + math.floor(time[2] / 1000))
    redis.call('SREM', prefix .. 'unfinished', id)
end
return 'counted'
