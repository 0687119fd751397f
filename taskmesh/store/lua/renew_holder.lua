#!lua flags=allow-oom
-- Says that a holder lives until now + lease.
-- KEYS  1 holders
-- ARGV  1 now  2 holder  3 lease in seconds
-- Returns {'renewed'} | {'lapsed'} (it was over, or never began: others may have taken its nodes).
local holders, holder = KEYS[1], ARGV[2]
local now = read_clock(ARGV[1])
local alive = is_alive(holders, holder, now)
redis.call('ZADD', holders, now + tonumber(ARGV[3]), holder)
return {alive and 'renewed' or 'lapsed'}
