#!lua flags=allow-oom
-- The last trace of a job that expired and whose files are gone.
-- ARGV: prefix, job id
local id = ARGV[2]
if get(id, 'status') ~= 'expired' then
    return 0
end
local record = redis.call('HMGET', key('job', id), 'owner', 'input_bytes', 'buried', 'idempotency')
if record[3] ~= '1' then
    owe(record[1], 0, -record[2])
end
if record[4] and redis.call('HGET', record[4], 'id') == id then
    redis.call('DEL', record[4])
end
for _, kind in ipairs({'job', 'done', 'aside'}) do
    redis.call('DEL', key(kind, id))
end
for _, set in ipairs({'jobs', 'jobs:' .. record[1], 'expiry', 'hooks'}) do
    redis.call('ZREM', prefix .. set, id)
end
return 1
