#!lua flags=allow-oom
-- A job that can never be whole ends here.
-- ARGV: prefix, job id, reason
local id = ARGV[2]
if redis.call('SISMEMBER', prefix .. 'unfinished', id) == 1 then
    finish(id, 'failed', now(), ARGV[3])
end
return 1
