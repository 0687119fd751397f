#!lua
-- Notes what nodes wait for of a type of events, while there is room, or that they still do.
-- KEYS  1 what is awaited of the type
-- ARGV  1 now  2 what  3 for how many seconds  4 most that there may be of the type
-- Returns {'kept'} | {'full'}.
local awaited, now, what, seconds = KEYS[1], read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local is_known = redis.call('ZSCORE', awaited, what)
redis.call('ZREMRANGEBYSCORE', awaited, '-inf', now)
if not is_known and redis.call('ZCARD', awaited) >= tonumber(ARGV[4]) then return {'full'} end
redis.call('ZADD', awaited, now + seconds, what)
redis.call('PEXPIRE', awaited, math.ceil(seconds * 1000))
return {'kept'}
