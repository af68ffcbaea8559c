#!lua flags=allow-oom
-- A worker asks for work. It gets a chunk of the owner, and of his job, that had the least so far (start-time fair
-- queuing: what is served moves on by what it costs, what comes new begins where is served now).
-- ARGV: prefix, token, lease (ms), most attempts, digests that the worker cannot serve ...
-- Returns: {'score' or 'set aside' (tried too often), id, chunk, model, version, digest, attempts with this one},
--          {'verify', id, '-1', ...}, {'lacking'} (there is work, all of it for other workers) or {'nothing'}
local token, lease, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local lacking, at = set_from(5), now()

-- The first owner and job in turn that this worker can serve.
local function fairest()
    for place = 0, redis.call('ZCARD', prefix .. 'owners') - 1 do
        local owner = redis.call('ZRANGE', prefix .. 'owners', place, place)[1]
        for rank = 0, redis.call('ZCARD', key('turns', owner)) - 1 do
            local id = redis.call('ZRANGE', key('turns', owner), rank, rank)[1]
            if serves(id, lacking) then
                return owner, id
            end
        end
    end
end

-- A turn moves on by a cost; one that was left behind, as no worker could serve it, begins where is served now.
local function move_on(turns, member, clock, cost)
    local start = math.max(tonumber(redis.call('ZSCORE', turns, member)), tonumber(clock or 0))
    redis.call('ZADD', turns, start + cost, member)
    return start
end

local function claim()
    local owner, id = fairest()
    if not id then
        return {redis.call('EXISTS', prefix .. 'owners') == 1 and 'lacking' or 'nothing'}
    end
    local chunk = redis.call('SPOP', key('again', id))
    if not chunk then
        chunk = tostring(redis.call('HINCRBY', key('job', id), 'next', 1) - 1)
    end
    if redis.call('HEXISTS', key('done', id), chunk) == 1 then -- its claim was lost, as in a failover, its result not
        if waiting(id) == 0 then
            leave(id)
        end
        return claim()
    end
    local cost = chunk == VERIFY and 1 or average_cost(id)
    local clock = redis.call('HGET', key('owner', owner), 'clock')
    local start = move_on(key('turns', owner), id, clock, cost)
    -- A new job moves the clock on, or a stream of them, each next at once, would keep an older one from ever going on.
    local new = get(id, 'status') == 'queued'
    redis.call('HSET', key('owner', owner), 'clock', new and start + cost or start)
    redis.call('SET', prefix .. 'clock', move_on(prefix .. 'owners', owner, redis.call('GET', prefix .. 'clock'), cost))
    if waiting(id) == 0 then
        leave(id)
    end
    local attempts = redis.call('HINCRBY', key('attempts', id), chunk, 1)
    local tired = attempts > most
    if chunk == VERIFY and tired then
        finish(id, 'failed', at, 'its results were missing or damaged on disk again and again')
        return claim()
    end
    redis.call('HSET', key('leases', id), chunk, token)
    redis.call('ZADD', prefix .. 'due', at + lease, id .. ':' .. chunk)
    local record = redis.call('HMGET', key('job', id), 'status', 'completed', 'failed', 'model', 'version', 'digest')
    if record[1] == 'queued' then
        redis.call('HSETNX', key('job', id), 'started_at', at)
        redis.call('HSET', key('job', id), 'status', 'in_progress', 'rated_at', at, 'rated_rows', record[2] + record[3])
    end
    local kind = chunk == VERIFY and 'verify' or tired and 'set aside' or 'score'
    return {kind, id, chunk, record[4], record[5], record[6], attempts}
end

return claim()
