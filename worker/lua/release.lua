#!lua flags=allow-oom
-- A worker gives its chunk back undone: it was told to stop, or something failed that time may cure.
-- Attempts count deaths, by which a chunk that kills its workers is known; this was none, so it is taken back.
-- ARGV: prefix, job id, chunk, token, '1' where something failed
-- Returns: how often the chunk has failed; it may be claimed again after 1, 2, 4, ... 60 seconds
local id, chunk, at = ARGV[2], ARGV[3], now()
if redis.call('HGET', key('leases', id), chunk) ~= ARGV[4] then
    return 0
end
redis.call('HDEL', key('leases', id), chunk)
redis.call('ZREM', prefix .. 'due', id .. ':' .. chunk)
redis.call('HINCRBY', key('attempts', id), chunk, -1)
if get(id, 'status') == 'cancelling' then
    finish_cancelled(id, at)
    return 0
elseif ARGV[5] ~= '1' then
    redis.call('SADD', key('again', id), chunk)
    enter(id)
    return 0
end
local failures = redis.call('HINCRBY', key('failures', id), chunk, 1)
local wait = math.min(60000, 1000 * 2 ^ (math.min(failures, 10) - 1))
redis.call('ZADD', prefix .. 'due', at + wait, id .. ':' .. chunk)
return failures
