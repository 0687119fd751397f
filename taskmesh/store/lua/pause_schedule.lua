#!lua flags=allow-oom
-- Lets no tick of a schedule begin a run, or lets them again. What is due meanwhile is skipped.
-- KEYS  1 schedule
-- ARGV  1 now  2 'pause' | 'resume'  3 by whom  4 why
-- Returns {'paused'} | {'resumed'} | {'unknown'}. A schedule that is paused again keeps who paused it first.
local schedule, now, wish = KEYS[1], read_clock(ARGV[1]), ARGV[2]

if not read_schedule(schedule).revision then return {'unknown'} end
if wish == 'resume' then
  redis.call('HDEL', schedule, 'paused')
  return {'resumed'}
end
redis.call('HSETNX', schedule, 'paused', cmsgpack.pack({ARGV[3], ARGV[4], now}))
return {'paused'}
