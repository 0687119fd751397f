#!lua flags=allow-oom
-- Removes a schedule. What was recorded and not yet admitted still runs; what waits does not.
-- KEYS  1 schedule  2 schedules by when they begin next  3 busy  4 started  5 passed  6 backfill
-- ARGV  1 schedule id
-- Returns {'removed'} | {'unknown'}.
local schedule, schedules, busy = KEYS[1], KEYS[2], KEYS[3]

local found = read_schedule(schedule)
if not found.revision then return {'unknown'} end
check_sorted_sets(2, 3)

redis.call('ZREM', schedules, ARGV[1])
redis.call('ZREM', busy, ARGV[1])
redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6])
if found.starting > 0 then
  redis.call('HDEL', schedule, 'next', 'paused', 'active', 'buffer', 'backfill_active', 'digest')
  redis.call('HSET', schedule, 'removed', 1)
else
  redis.call('UNLINK', schedule)
end
return {'removed'}
