#!lua flags=allow-oom
-- A job that has ended is given up: its files may be deleted, by whoever asked or, if that one dies, as of one expired.
-- ARGV: prefix, job id
-- Returns: the status that it had, or false where there is no such job
local id = ARGV[2]
local status = get(id, 'status')
if status and redis.call('SISMEMBER', prefix .. 'unfinished', id) == 0 and status ~= 'expired' then
    redis.call('HSET', key('job', id), 'status', 'expired')
    redis.call('ZADD', prefix .. 'expiry', now(), id)
end
return status
