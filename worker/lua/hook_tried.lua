#!lua flags=allow-oom
-- An owner was told of a job's end, or could not be.
-- ARGV: prefix, job id, the state now, HTTP status or 0, again (ms from now) where it is pending
local id, state = ARGV[2], ARGV[3]
if not redis.call('ZSCORE', prefix .. 'hooks', id) then
    return 0
end
redis.call('HINCRBY', key('job', id), 'webhook_attempts', 1)
redis.call('HSET', key('job', id), 'webhook_state', state, 'webhook_status', ARGV[4])
if state == 'pending' then
    redis.call('ZADD', prefix .. 'hooks', now() + tonumber(ARGV[5]), id)
else
    redis.call('ZREM', prefix .. 'hooks', id)
end
return 1
