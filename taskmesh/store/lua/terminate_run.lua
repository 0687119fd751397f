#!lua flags=allow-oom
-- Ends a run at once. Its nodes stay as they are; nothing that is said about them any more is taken.
-- Its nodes may have child runs, also those that are just to look for the end of theirs: among the halted runs the keeper
-- finds it, and ends those.
-- KEYS  1 run  2 flow  3 open  4 closed  5 retrying nodes of the run  6 halted runs
--       and, of a run that is a child, 7 outbox of the flow's first pool
-- ARGV  1 now  2 run id  3 retention in ms  4 by whom  5 why
-- Returns {'terminated'} (also when it was before) | {'unknown'} | {'ended', status}.
local run, flow, retrying = KEYS[1], KEYS[2], KEYS[5]
local now, run_id = read_clock(ARGV[1]), ARGV[2]

local values = redis.call('HMGET', run, 'status', 'watched')
if not values[1] then return {'unknown'} end
if values[1] == TERMINATED then return {'terminated'} end
if not OPEN[values[1]] then return {'ended', values[1]} end
redis.call('HLEN', flow)
check_sorted_sets(3, 4)
check_sorted_sets(6)
redis.call('SCARD', retrying)
check_events(values[2])

redis.call('HDEL', run, 'paused')
redis.call('UNLINK', retrying)
remember(run, 'halt', now, TERMINATED, ARGV[4], ARGV[5])
change('halted_by', cmsgpack.pack({ARGV[4], ARGV[5], now}))
put_due(KEYS[6], run_id, now)
end_run_and_write(run, run_id, TERMINATED, ARGV[3], now, values[2], KEYS[7])
return {'terminated'}
