#!lua flags=allow-oom
-- A worker gives its chunk back undone: it was told to stop, or something failed that time may cure.
-- Attempts count deaths, by which a chunk that kills its workers is known; this was none, so it is taken back.
-- ARGV: prefix, job id, chunk, token, '1' where something failed
-- Returns: how often the chunk has failed; it is due again after 1, 2, 4, ... 60 seconds
local prefix, id, chunk = ARGV[1], ARGV[2], ARGV[3]
local leases, member = prefix .. 'leases:' .. id, id .. ':' .. chunk
if redis.call('HGET', leases, chunk) ~= ARGV[4] then
    return 0
end
redis.call('HDEL', leases, chunk)
redis.call('HINCRBY', prefix .. 'attempts:' .. id, chunk, -1)
local failures, wait = 0, 0
if ARGV[5] == '1' then
    failures = redis.call('HINCRBY', prefix .. 'failures:' .. id, chunk, 1)
    wait = math.min(60000, 1000 * 2 ^ (math.min(failures, 10) - 1))
end
local job = prefix .. 'job:' .. id
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HGET', job, 'status') == 'in_progress' then
    redis.call('ZADD', prefix .. 'due', now + wait, member)
    redis.call('HSET', prefix .. 'released:' .. id, chunk, 1)
    return failures
end
redis.call('ZREM', prefix .. 'due', member)
if redis.call('HGET', job, 'status') == 'cancelling' and redis.call('HLEN', leases) == 0 then
    redis.call('HSET', job, 'status', 'cancelled', 'finished_at', now)
    redis.call('SREM', prefix .. 'unfinished', id)
end
return failures
