#!lua
-- A job is accepted, whole: its record, its turn, its idempotency key. Not run when memory is short.
-- ARGV: prefix, what is asked as JSON, then field, value, ... of the record
-- Returns: {'accepted', id, created (ms), expires (ms), messages to send}, {'known' or 'conflict', id},
--          or {'full'}, {'owner full'}, {'owner bytes'}
local asked = cjson.decode(ARGV[2])
local id, owner, at = asked.id, asked.owner, now()
local idempotency = key('idempotency', #owner .. ':' .. owner .. ':' .. asked.idempotency_key)
if asked.idempotency_key ~= '' then
    local known = redis.call('HMGET', idempotency, 'fingerprint', 'id')
    local status = known[2] and get(known[2], 'status')
    if status and status ~= 'expired' then
        return {known[1] == asked.fingerprint and 'known' or 'conflict', known[2]}
    end
end
local has = redis.call('HMGET', key('owner', owner), 'jobs', 'bytes')
if redis.call('SCARD', prefix .. 'unfinished') >= asked.max_jobs then
    return {'full'}
elseif tonumber(has[1] or 0) >= asked.owner_jobs then
    return {'owner full'}
elseif tonumber(has[2] or 0) + asked.bytes > asked.owner_bytes then
    return {'owner bytes'}
end
local expires = at + asked.retention_ms
redis.call('HSET', key('job', id), 'status', 'queued', 'owner', owner, 'chunks', asked.chunks, 'next', 0,
    'input_bytes', asked.bytes, 'completed', 0, 'failed', 0, 'created_at', at, 'expires_at', expires)
for field = 3, #ARGV, 2 do
    redis.call('HSET', key('job', id), ARGV[field], ARGV[field + 1])
end
redis.call('SADD', prefix .. 'unfinished', id)
redis.call('ZADD', prefix .. 'jobs', at, id)
redis.call('ZADD', key('jobs', owner), at, id)
redis.call('ZADD', prefix .. 'expiry', expires, id)
if asked.idempotency_key ~= '' then
    redis.call('HSET', idempotency, 'fingerprint', asked.fingerprint, 'id', id)
    redis.call('HSET', key('job', id), 'idempotency', idempotency)
end
owe(owner, 1, asked.bytes)
enter(id)
-- At least one, unless so many wait that one of them will do.
local full = redis.call('LLEN', asked.queue) >= asked.window
return {'accepted', id, at, expires, full and 0 or math.max(1, hints(asked.queue, asked.window, asked.chunks))}
