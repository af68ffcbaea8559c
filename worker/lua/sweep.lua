#!lua flags=allow-oom
-- Chunks that were promised and that nobody works on, to be sent again.
-- A chunk whose lease ran out or that was given back is sent at once. One that was never claimed may still wait in
-- the queue: it is sent again only when the queue is empty or its wait has grown long.
-- ARGV: prefix, the queue's key, most chunks, due again (ms from now), longest wait in a queue (ms)
-- Returns: job id, chunk, job id, chunk, ...
local prefix = ARGV[1]
local due = prefix .. 'due'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local empty = redis.call('LLEN', ARGV[2]) == 0
local again = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, tonumber(ARGV[3]))) do
    local id, chunk = string.match(member, '^(.*):(%d+)$')
    local job, leases = prefix .. 'job:' .. id, prefix .. 'leases:' .. id
    local record = redis.call('HMGET', job, 'status', 'created_at')
    local claimed = redis.call('HDEL', leases, chunk) == 1
    local released = redis.call('HDEL', prefix .. 'released:' .. id, chunk) == 1
    if record[1] == 'queued' or record[1] == 'in_progress' then
        local idle = claimed or released or empty
        local late = not idle and now - tonumber(record[2]) > tonumber(ARGV[5])
        redis.call('ZADD', due, now + tonumber(ARGV[late and 5 or 4]), member)
        if idle or late then
            again[#again + 1] = id
            again[#again + 1] = chunk
        end
    else
        redis.call('ZREM', due, member)
        if record[1] == 'cancelling' and redis.call('HLEN', leases) == 0 then
            redis.call('HSET', job, 'status', 'cancelled', 'finished_at', now)
            redis.call('SREM', prefix .. 'unfinished', id)
        end
    end
end
return again
