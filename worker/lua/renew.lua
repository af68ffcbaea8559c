#!lua flags=allow-oom
-- A worker still works on its chunk.
-- ARGV: prefix, job id, chunk, token, lease (ms)
-- Returns: 1, or 0 where it must stop: cancelled, ended, or the lease is another's
local id, chunk = ARGV[2], ARGV[3]
local wanted = chunk == VERIFY and 'finalizing' or 'in_progress'
if get(id, 'status') ~= wanted or redis.call('HGET', key('leases', id), chunk) ~= ARGV[4] then
    return 0
end
redis.call('ZADD', prefix .. 'due', now() + tonumber(ARGV[5]), id .. ':' .. chunk)
return 1
