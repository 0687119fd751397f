#!lua flags=allow-oom
-- Says that a holder lives until now + lease.
-- KEYS  1 holders
-- ARGV  1 now  2 holder  3 lease in seconds  4 '1' = first time
-- Returns {'renewed', now} | {'lost', now} (the keeper has taken its nodes already).
local holders, holder = KEYS[1], ARGV[2]
local now = read_clock(ARGV[1])
if ARGV[4] == '0' and not redis.call('ZSCORE', holders, holder) then return {'lost', tostring(now)} end
redis.call('ZADD', holders, now + tonumber(ARGV[3]), holder)
return {'renewed', tostring(now)}
