#!lua flags=allow-oom
-- Forgets a holder that holds nothing.
-- KEYS  1 holders  2 held by the holder
-- ARGV  1 now  2 holder  3 '1' = only when its lease is over
-- Returns {'dropped'} | {'busy'} (still holds nodes) | {'alive'}.
local holders, held, holder = KEYS[1], KEYS[2], ARGV[2]
if redis.call('EXISTS', held) == 1 then return {'busy'} end
local until_time = redis.call('ZSCORE', holders, holder)
if ARGV[3] == '1' and until_time and tonumber(until_time) > read_clock(ARGV[1]) then return {'alive'} end
redis.call('ZREM', holders, holder)
return {'dropped'}
