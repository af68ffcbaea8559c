#!lua flags=allow-oom
-- The files of an expired job are gone; what it was is told for a while yet.
-- ARGV: prefix, job id, how long (ms)
local id = ARGV[2]
if get(id, 'status') == 'expired' and get(id, 'buried') ~= '1' then
    owe(get(id, 'owner'), 0, -(get(id, 'input_bytes') or 0))
    redis.call('HSET', key('job', id), 'buried', 1)
    redis.call('DEL', key('done', id), key('aside', id))
    redis.call('ZADD', prefix .. 'expiry', now() + tonumber(ARGV[3]), id)
end
return 1
