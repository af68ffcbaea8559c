#!lua flags=allow-oom
-- Jobs past their time. Those that are not yet marked so end here, and their files may be deleted.
-- ARGV: prefix, most jobs
-- Returns: id, '1' where the files are gone and the record may go too, or else '0', id, ...
local at, found = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'expiry', '-inf', at, 'LIMIT', 0, tonumber(ARGV[2]))) do
    if redis.call('SISMEMBER', prefix .. 'unfinished', id) == 1 then
        finish(id, 'expired', at)
    end
    redis.call('HSET', key('job', id), 'status', 'expired')
    found[#found + 1] = id
    found[#found + 1] = get(id, 'buried') or '0'
end
return found
