#!lua flags=allow-oom
-- Leases that ran out are taken back, and chunks that failed may be claimed again once their wait is over.
-- ARGV: prefix, the queue's key, window, most chunks, digests that the worker cannot serve ...
-- Returns: {messages to send, chunks that the worker could claim (counted up to the window), messages that wait,
--           ID:chunk of what was taken back ...}
local queue, window, at = ARGV[2], tonumber(ARGV[3]), now()
local back, lacking, claimable = {}, set_from(5), 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', at, 'LIMIT', 0, tonumber(ARGV[4]))) do
    local id, chunk = string.match(member, '^(.*):(-?%d+)$')
    local status = get(id, 'status')
    redis.call('ZREM', prefix .. 'due', member)
    redis.call('HDEL', key('leases', id), chunk)
    local wanted = status == 'queued' or status == 'in_progress'
    if chunk == VERIFY then
        wanted = status == 'finalizing'
    end
    if wanted then
        redis.call('SADD', key('again', id), chunk)
        enter(id)
        back[#back + 1] = member
    else
        finish_cancelled(id, at)
    end
end
for _, owner in ipairs(redis.call('ZRANGE', prefix .. 'owners', 0, -1)) do
    if claimable >= window then
        break
    end
    for _, id in ipairs(redis.call('ZRANGE', key('turns', owner), 0, -1)) do
        if claimable >= window then
            break
        elseif serves(id, lacking) then
            claimable = claimable + waiting(id)
        end
    end
end
return {hints(queue, window, claimable), claimable, redis.call('LLEN', queue), unpack(back)}
