#!lua
-- Begins a run of a schedule now, whatever its policy says. Repeated with the same run id: the same answer.
-- KEYS  1 schedule  2 due  3 passed
-- ARGV  1 now  2 run id  3 tick
-- Returns {'triggered', member of due} | {'full'} (too many runs of it have not ended) | {'unknown'}.
local schedule, due, passed = KEYS[1], KEYS[2], KEYS[3]
local now, run_id, tick = read_clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local found = read_schedule(schedule)
if not found.revision then return {'unknown'} end
check_sorted_sets(2, 2)
check_lists(passed)
local again = redis.call('HGET', schedule, 'triggered') == run_id

begin(found, tick, run_id, TRIGGER)
if #found.recorded == 0 then return {'full'} end
if again then return {'triggered', found.recorded[1]} end
redis.call('HSET', schedule, 'triggered', run_id)
write_schedule(schedule, due, passed, found, now)
return {'triggered', found.recorded[1]}
