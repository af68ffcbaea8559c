-- What the scripts share; it is put behind each one's first line. ARGV[1] is the prefix of every key.
--
--   job:ID       hash    the record; `next` is the first chunk that was never claimed, `turn` its virtual time at rest
--   done:ID      hash    chunk -> rows completed, rows failed, sha256 of the result file
--   leases:ID    hash    chunk -> token of who works on it
--   again:ID     set     chunks before `next` that wait to be claimed again; -1 is the verifying of all results
--   attempts:ID  hash    chunk -> times it was claimed and not given back; failures:ID the same for failures
--   aside:ID     set     chunks whose rows became errors since they could not be scored
--   due          zset    ID:chunk -> when its lease runs out or, after a failure, when it may be claimed again
--   owners       zset    owner -> virtual time, of those who have chunks to claim; turns:OWNER the same of its jobs
--   owner:OWNER  hash    unfinished jobs, stored bytes, and virtual times at rest
--   totals       hash    rows completed and failed since there is this ledger, whatever became of their jobs
--   unfinished, jobs, jobs:OWNER, expiry, hooks, workers, signs, idempotency:...
local prefix = ARGV[1]
local VERIFY = '-1'

local function key(kind, id)
    return prefix .. kind .. ':' .. id
end

local function now()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function get(id, field)
    return redis.call('HGET', key('job', id), field)
end

-- How many chunks of a job wait to be claimed.
local function waiting(id)
    local record = redis.call('HMGET', key('job', id), 'chunks', 'next')
    return tonumber(record[1]) - tonumber(record[2]) + redis.call('SCARD', key('again', id))
end

-- The values of ARGV from a place on, as a set.
local function set_from(place)
    local found = {}
    for at = place, #ARGV do
        found[ARGV[at]] = true
    end
    return found
end

-- Whether a worker can do what waits of a job: whoever lacks its model may still look at its results' files.
local function serves(id, lacking)
    local record = redis.call('HMGET', key('job', id), 'digest', 'status')
    return record[2] == 'finalizing' or not lacking[record[1]]
end

-- A job takes its turn among its owner's jobs, and its owner among the owners: at the virtual time that is served now,
-- or later where they are ahead of it.
local function enter(id)
    local record = redis.call('HMGET', key('job', id), 'owner', 'turn')
    local owner = record[1]
    if redis.call('ZSCORE', key('turns', owner), id) then
        return
    end
    local rest = redis.call('HMGET', key('owner', owner), 'clock', 'turn')
    redis.call('ZADD', key('turns', owner), math.max(tonumber(record[2] or 0), tonumber(rest[1] or 0)), id)
    if not redis.call('ZSCORE', prefix .. 'owners', owner) then
        local clock = tonumber(redis.call('GET', prefix .. 'clock') or 0)
        redis.call('ZADD', prefix .. 'owners', math.max(tonumber(rest[2] or 0), clock), owner)
    end
end

-- A job that has nothing to claim takes no turns, nor does its owner where that was the last; their times are kept.
local function leave(id)
    local owner = get(id, 'owner')
    local turn = redis.call('ZSCORE', key('turns', owner), id)
    if not turn then
        return
    end
    redis.call('HSET', key('job', id), 'turn', turn)
    redis.call('ZREM', key('turns', owner), id)
    if redis.call('EXISTS', key('turns', owner)) == 0 then
        redis.call('HSET', key('owner', owner), 'turn', redis.call('ZSCORE', prefix .. 'owners', owner))
        redis.call('ZREM', prefix .. 'owners', owner)
    end
end

-- What an owner has: unfinished jobs and stored bytes. Of one who has neither nothing is kept.
local function owe(owner, jobs, bytes)
    local has_jobs = redis.call('HINCRBY', key('owner', owner), 'jobs', jobs)
    local has_bytes = redis.call('HINCRBY', key('owner', owner), 'bytes', bytes)
    if has_jobs <= 0 and has_bytes <= 0 then
        redis.call('DEL', key('owner', owner))
    end
end

-- A job ends; whoever wants to be told of it will be.
local function finish(id, status, at, reason)
    leave(id)
    redis.call('HSET', key('job', id), 'status', status, 'finished_at', at)
    if reason then
        redis.call('HSET', key('job', id), 'reason', reason)
    end
    if redis.call('SREM', prefix .. 'unfinished', id) == 1 then
        owe(get(id, 'owner'), -1, 0)
    end
    for _, kind in ipairs({'leases', 'again', 'attempts', 'failures'}) do
        redis.call('DEL', key(kind, id))
    end
    if (get(id, 'webhook') or '') ~= '' then
        redis.call('HSET', key('job', id), 'webhook_state', 'pending', 'webhook_attempts', 0)
        redis.call('ZADD', prefix .. 'hooks', at, id)
    end
end

-- A cancelled job ends once nobody works on it.
local function finish_cancelled(id, at)
    if get(id, 'status') == 'cancelling' and redis.call('EXISTS', key('leases', id)) == 0 then
        finish(id, 'cancelled', at)
    end
end

-- All chunks are done: now their files are looked at.
local function finalize(id, at)
    redis.call('HSET', key('job', id), 'status', 'finalizing', 'finalizing_at', at, 'next', get(id, 'chunks'))
    redis.call('DEL', key('again', id))
    redis.call('SADD', key('again', id), VERIFY)
    enter(id)
end

-- A counted result counts no more, and its chunk waits to be claimed.
local function uncount(id, chunk)
    local completed, failed = string.match(redis.call('HGET', key('done', id), chunk) or '', '^(%d+) (%d+)')
    if completed then
        redis.call('HDEL', key('done', id), chunk)
        redis.call('HINCRBY', key('job', id), 'completed', -completed)
        redis.call('HINCRBY', key('job', id), 'failed', -failed)
        redis.call('SADD', key('again', id), chunk)
    end
    redis.call('SREM', key('aside', id), chunk)
end

-- What a chunk of a job costs on the average, in closes.
local function average_cost(id)
    local record = redis.call('HMGET', key('job', id), 'closes', 'chunks')
    return math.max(1, math.floor(tonumber(record[1]) / tonumber(record[2])))
end

-- Threads of the workers that gave a sign of life lately.
local function threads()
    local count = 0
    for _, worker in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'workers', now(), '+inf')) do
        count = count + (string.match(redis.call('HGET', prefix .. 'signs', worker) or '', '^%d+') or 0)
    end
    return count
end

-- How many messages to send so that as many wait as there are chunks to claim, within a window. A thread takes one at a
-- time, so more than two for each thread are only thrown away; where none is known, some may be on their way.
local function hints(queue, window, chunks)
    local takers = threads()
    local useful = takers > 0 and math.min(window, 2 * takers) or window
    return math.max(0, math.min(chunks, useful) - redis.call('LLEN', queue))
end
