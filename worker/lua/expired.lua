#!lua flags=allow-oom
-- Jobs past their time: they end here, and their files may be deleted.
-- ARGV: prefix, most jobs
-- Returns: their ids
local prefix = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', prefix .. 'expiry', '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(ids) do
    redis.call('HSET', prefix .. 'job:' .. id, 'status', 'expired')
    redis.call('SREM', prefix .. 'unfinished', id)
end
return ids
