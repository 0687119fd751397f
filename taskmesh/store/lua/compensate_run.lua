#!lua
-- Begins to undo what a run has committed that has ended badly, or goes on where undos had failed.
-- KEYS  1 run  2 flow  3 open  4 closed  5 outbox of the flow's first pool
-- ARGV  1 now  2 run id
-- Returns {'compensating'} (also when it does so already) | {'unknown'} | {'nothing'} (to undo) | {'ended', status}.
local run, flow, open, closed, outbox = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, run_id = read_clock(ARGV[1]), ARGV[2]
local BAD_ENDS = {failed = true, cancelled = true, compensation_failed = true}

local _, found = look_up(run, BEFORE_UNDOS)
if not found.status or redis.call('HEXISTS', flow, 'body') == 0 then return {'unknown'} end
if found.status == 'compensating' then return {'compensating'} end
if not BAD_ENDS[found.status] then return {'ended', found.status} end
if not found.undos then return {'nothing'} end
check_sorted_sets(3)

local times = redis.call('HMGET', run, 'submitted_at', 'finished_at')
remember(run, 'reopen', now, 'compensating', '', '', found.status, tonumber(times[2]))
change('undos', 'some')
begin_undos_and_write(run, run_id, found, outbox, now)
redis.call('HDEL', run, 'finished_at')
redis.call('PERSIST', run)
redis.call('ZREM', closed, run_id)
redis.call('ZADD', open, times[1], run_id)
if redis.call('HINCRBY', flow, 'open_runs', 1) == 1 then redis.call('PERSIST', flow) end
return {'compensating'}
