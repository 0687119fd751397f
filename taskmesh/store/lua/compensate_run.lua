#!lua
-- Begins to undo what a run has committed that has ended badly, or goes on where undos had failed.
-- A parent undoes a child that has succeeded, too; it asks once each time that it is undone itself.
-- KEYS  1 run  2 flow  3 open  4 closed  5 outbox of the flow's first pool
--       and, where a parent asks that it ends with, 6 children
-- ARGV  1 now  2 run id  3 whom its end is told then, as `parent` has it ('' = no parent asks)
--       4 seconds until it is looked whether its parent still waits for it ('' = it does not end with its parent)
-- Returns {'compensating'} (also when it does so already) | {'unknown'} | {'nothing'} (to undo) |
--         {'ended', status} (it has ended otherwise, or with that since the parent has asked the same).
local run, flow, open, closed, outbox = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, run_id, parent = read_clock(ARGV[1]), ARGV[2], ARGV[3]
local looked_at = ARGV[4] ~= '' and now + tonumber(ARGV[4])
local BAD_ENDS = {failed = true, cancelled = true, compensation_failed = true}

local _, found = look_up(run, BEFORE_UNDOS)
if not found.status or redis.call('HEXISTS', flow, 'body') == 0 then return {'unknown'} end
if found.status == 'compensating' then
  check_sorted_sets(6)
  if parent ~= '' then redis.call('HSET', run, 'parent', parent) end
  if looked_at then redis.call('ZADD', KEYS[6], looked_at, run_id) end
  return {'compensating'}
end
local can_begin = BAD_ENDS[found.status] or (parent ~= '' and found.status == 'succeeded')
local is_answered = parent ~= '' and redis.call('HGET', run, 'parent') == parent
if not can_begin or is_answered then return {'ended', found.status} end
if not found.undos then return {'nothing'} end
check_sorted_sets(3)

local times = redis.call('HMGET', run, 'submitted_at', 'finished_at')
remember(run, 'reopen', now, 'compensating', '', '', found.status, tonumber(times[2]))
change('undos', 'some')
if parent ~= '' then change('parent', parent) end
if looked_at then put_due(KEYS[6], run_id, looked_at) end
begin_undos_and_write(run, run_id, found, outbox, now)
redis.call('HDEL', run, 'finished_at')
redis.call('PERSIST', run)
redis.call('ZREM', closed, run_id)
redis.call('ZADD', open, times[1], run_id)
if redis.call('HINCRBY', flow, 'open_runs', 1) == 1 then redis.call('PERSIST', flow) end
return {'compensating'}
