#!lua
-- Lets a paused run go on. Its ready nodes have no messages: the caller, or in time the keeper, publishes them again.
-- One that was reopened though all of its nodes have ended ends again.
-- KEYS  1 run  2 flow  3 open  4 closed  and, of a run that is a child, 5 outbox of the flow's first pool
-- ARGV  1 now  2 run id  3 kind of the pause to end  4 retention in ms  5 by whom  6 why
-- Returns {'resumed'} | {'unknown'} | {'ended', status} | {'running'} (it is not paused) |
--         {'preparing', kind} (paused until something else is finished).
local run, flow = KEYS[1], KEYS[2]
local now, run_id = read_clock(ARGV[1]), ARGV[2]

local values = redis.call('HMGET', run, 'status', 'paused', 'watched', 'remaining', 'failed_node')
local paused = unpacked(values[2])
if not values[1] then return {'unknown'} end
if not OPEN[values[1]] then return {'ended', values[1]} end
if not paused then return {'running'} end
if paused[1] ~= ARGV[3] then return {'preparing', paused[1]} end
redis.call('HLEN', flow)
check_sorted_sets(3)

redis.call('HDEL', run, 'paused')
remember(run, 'resume', now, 'running', ARGV[5], ARGV[6])
if tonumber(values[4]) == 0 then
  local status = values[5] and 'failed' or 'succeeded'
  end_run_and_write(run, run_id, status, ARGV[4], now, values[3], KEYS[5])
  return {'ended', status}
end
note(values[3], 'resume', 'running', now)
write(run)
return {'resumed'}
