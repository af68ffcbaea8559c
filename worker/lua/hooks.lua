#!lua flags=allow-oom
-- Ended jobs whose owners want to be told now. They are lent for a while: whoever dies over one has it come again.
-- ARGV: prefix, most jobs, how long they are lent (ms)
-- Returns: id, attempts so far, id, ...
local at, found = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'hooks', '-inf', at, 'LIMIT', 0, tonumber(ARGV[2]))) do
    redis.call('ZADD', prefix .. 'hooks', at + tonumber(ARGV[3]), id)
    found[#found + 1] = id
    found[#found + 1] = get(id, 'webhook_attempts') or '0'
end
return found
