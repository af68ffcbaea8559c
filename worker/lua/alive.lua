#!lua flags=allow-oom
-- A worker's sign of life, and what it says of itself; signs that ran out go.
-- ARGV: prefix, worker, how long it holds (ms), how many threads it has and the digests that it lacks, blanks between
local workers, signs, at = prefix .. 'workers', prefix .. 'signs', now()
redis.call('ZADD', workers, at + tonumber(ARGV[3]), ARGV[2])
redis.call('HSET', signs, ARGV[2], ARGV[4])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', at)) do
    redis.call('ZREM', workers, gone)
    redis.call('HDEL', signs, gone)
end
return 1
