#!lua
-- Names the holders whose lease is over, the longest dead first.
-- KEYS  1 holders
-- ARGV  1 now  2 at most
-- Returns {holder...}.
local now = read_clock(ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
