#!lua flags=allow-oom
-- A worker asks for a chunk. A message may come twice or late: the ledger alone says who works.
-- ARGV: prefix, job id, chunk, token, lease (ms), most attempts
-- Returns: 'score', 'set aside' (tried too often), 'done', 'taken', 'over' (job ended or gone)
local prefix, id, chunk = ARGV[1], ARGV[2], ARGV[3]
local job = prefix .. 'job:' .. id
local status = redis.call('HGET', job, 'status')
if status ~= 'queued' and status ~= 'in_progress' then
    return 'over'
end
if redis.call('HEXISTS', prefix .. 'done:' .. id, chunk) == 1 then
    return 'done'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local member = id .. ':' .. chunk
local holder = redis.call('HGET', prefix .. 'leases:' .. id, chunk)
local live = holder and tonumber(redis.call('ZSCORE', prefix .. 'due', member) or 0) > now
if live and holder ~= ARGV[4] then
    return 'taken'
end
-- A call whose answer was lost comes again with its own lease in place: that is no new attempt.
local attempts = redis.call('HINCRBY', prefix .. 'attempts:' .. id, chunk, live and 0 or 1)
redis.call('HSET', prefix .. 'leases:' .. id, chunk, ARGV[4])
redis.call('ZADD', prefix .. 'due', now + tonumber(ARGV[5]), member)
if status == 'queued' then
    redis.call('HSET', job, 'status', 'in_progress', 'started_at', now)
end
return attempts > tonumber(ARGV[6]) and 'set aside' or 'score'
