#!lua
-- Lets an ended run go on, paused: its nodes can be reset then, and after that it is resumed. It has no deadline any more.
-- KEYS  1 run  2 flow  3 open  4 closed  5 timers
-- ARGV  1 now  2 run id  3 kind of the pause  4 by whom  5 why
-- Returns {'reopened'} (also when it was before, for the same) | {'unknown'} | {'ended', status} (it cannot be reopened) |
--         {'running'} (it has not ended) | {'preparing', kind} (it was reopened for something else) | {'flow_missing'}.
local run, flow = KEYS[1], KEYS[2]
local now, run_id, kind = read_clock(ARGV[1]), ARGV[2], ARGV[3]

local values = redis.call('HMGET', run, 'status', 'paused', 'submitted_at', 'watched', 'finished_at', 'compensation')
local status, paused = values[1], unpacked(values[2])
if not status then return {'unknown'} end
if OPEN[status] then
  if paused and paused[1] == kind then return {'reopened'} end
  if paused and paused[1] ~= 'user' then return {'preparing', paused[1]} end
  return {'running'}
end
if not REOPENABLE[status] or tonumber(values[6] or 0) > 0 then return {'ended', status} end
if redis.call('HEXISTS', flow, 'body') == 0 then return {'flow_missing'} end
check_sorted_sets(3)

change('status', 'running')
change('altered', 1)
change('paused', cmsgpack.pack({kind, ARGV[4], ARGV[5], now}))
remember(run, 'reopen', now, 'paused', ARGV[4], ARGV[5], status, tonumber(values[5]))
note(values[4], 'pause', 'paused', now)
write(run)
redis.call('HDEL', run, 'halt', 'halted_by', 'failed_node', 'finished_at', 'deadline', 'compensation')
redis.call('ZREM', KEYS[5], run_id .. '/' .. RUN_DEADLINE)
redis.call('PERSIST', run)
if redis.call('HINCRBY', flow, 'open_runs', 1) == 1 then redis.call('PERSIST', flow) end
redis.call('ZREM', KEYS[4], run_id)
redis.call('ZADD', KEYS[3], values[3], run_id)
return {'reopened'}
