#!lua
-- A job is accepted, whole: its record, its chunks' due times, its idempotency key. Not run when memory is short.
-- ARGV: prefix, job id, chunks, first due (ms from now), retention (ms), most unfinished jobs,
--       idempotency key or '', fingerprint, then field, value, ... of the job
-- Returns: {'accepted', id, created (ms), expires (ms)}, {'known', id}, {'conflict', id} or {'full'}
local prefix, id, chunks = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local idempotency = prefix .. 'idempotency:' .. ARGV[7]
if ARGV[7] ~= '' then
    local known = redis.call('HMGET', idempotency, 'fingerprint', 'id')
    local status = known[2] and redis.call('HGET', prefix .. 'job:' .. known[2], 'status')
    if status and status ~= 'expired' then
        return {known[1] == ARGV[8] and 'known' or 'conflict', known[2]}
    end
end
if redis.call('SCARD', prefix .. 'unfinished') >= tonumber(ARGV[6]) then
    return {'full'}
end
local job = prefix .. 'job:' .. id
local expires = now + tonumber(ARGV[5])
redis.call('HSET', job, 'status', 'queued', 'chunks', chunks, 'completed', 0, 'failed', 0,
    'created_at', now, 'expires_at', expires, 'idempotency_key', ARGV[7])
for field = 9, #ARGV, 2 do
    redis.call('HSET', job, ARGV[field], ARGV[field + 1])
end
for chunk = 0, chunks - 1 do
    redis.call('ZADD', prefix .. 'due', now + tonumber(ARGV[4]), id .. ':' .. chunk)
end
redis.call('SADD', prefix .. 'unfinished', id)
redis.call('ZADD', prefix .. 'jobs', now, id)
redis.call('ZADD', prefix .. 'expiry', expires, id)
if ARGV[7] ~= '' then
    redis.call('HSET', idempotency, 'fingerprint', ARGV[8], 'id', id)
end
return {'accepted', id, now, expires}
