#!lua flags=allow-oom
-- The last trace of a job whose files are gone.
-- ARGV: prefix, job id
local prefix, id = ARGV[1], ARGV[2]
local record = redis.call('HMGET', prefix .. 'job:' .. id, 'chunks', 'idempotency_key')
for chunk = 0, tonumber(record[1] or 0) - 1 do
    redis.call('ZREM', prefix .. 'due', id .. ':' .. chunk)
end
if record[2] and record[2] ~= '' and redis.call('HGET', prefix .. 'idempotency:' .. record[2], 'id') == id then
    redis.call('DEL', prefix .. 'idempotency:' .. record[2])
end
for _, kind in ipairs({'job:', 'leases:', 'attempts:', 'done:', 'failures:', 'released:'}) do
    redis.call('DEL', prefix .. kind .. id)
end
redis.call('SREM', prefix .. 'unfinished', id)
redis.call('ZREM', prefix .. 'jobs', id)
redis.call('ZREM', prefix .. 'expiry', id)
return 1
