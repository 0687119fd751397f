#!lua
-- Has past ticks of a schedule run, in an order and not too many at once. Repeated: the same answer.
-- KEYS  1 schedule  2 busy  3 backfill
-- ARGV  1 now  2 schedule id  3 how many may be active at once  4 most that may wait  5.. place in the order, RUN|TICK ...
-- Returns {'added', how many wait} | {'full', how many wait} | {'unknown'}.
local schedule, busy, backfill = KEYS[1], KEYS[2], KEYS[3]
local now, schedule_id, most = read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[4])

if not read_schedule(schedule).revision then return {'unknown'} end
redis.call('ZCARD', busy)
local waiting = redis.call('ZCARD', backfill)
if waiting + (#ARGV - 4) / 2 > most then return {'full', waiting} end

redis.call('HSET', schedule, 'backfill_active', ARGV[3])
redis.call('ZADD', backfill, unpack(ARGV, 5))
redis.call('ZADD', busy, now, schedule_id)
return {'added', redis.call('ZCARD', backfill)}
