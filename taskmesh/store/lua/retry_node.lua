#!lua flags=allow-oom
-- Records that an attempt failed and that there will be another one, after a delay or at once where the run is halted.
-- An attempt that does not count is none: the worker did not know the task, and leaves the node to another; or its
-- breaker did not let it run. Without an error, the one before stays.
-- Its timer brings the next attempt; in its pool's outbox it is found should the timer be lost.
-- KEYS  1 run  2 outbox of the node's pool  3 timers  4 retrying nodes of the run
-- ARGV  1 now  2 run id  3 node  4 token  5 delay in seconds  6 error
--       7 '1' = the attempt counts, '0' = it does not  8 what it waits for ('' = just the delay)  9 holder
--       10 '1' = a halt of the run does not concern it, so it waits for its delay all the same
--       11 ticket of the child run whose end it waits for ('' = none); with it the status may be `paused`, too
-- Returns {word, run status, 0}: retrying | told (the same, but the child has ended, so its wait is over) |
--         again (the same call before), or {word}: stale | unknown.
local run, outbox, timers, retrying = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node, delay = read_clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[5])
local member = run_id .. '/' .. node

local record, found = look_up(run, node)
if not record then return {'unknown'} end
if record[TOKEN] ~= tonumber(ARGV[4]) or found.status == TERMINATED then return {'stale'} end
if record[STATE] == 'retrying' then return {'again', found.status, 0} end
if record[STATE] ~= 'running' or record[HOLDER] ~= ARGV[9] then return {'stale'} end
check_sorted_sets(2, 3)
redis.call('SCARD', retrying)

local lost_to = ARGV[8] == '' and ARGV[7] == '0' and 'handed_on' or ARGV[8]
remember_attempt(run, node, record, now, 'retrying', lost_to, said(ARGV[6]))
remember_schedule(record)
record[STATE] = 'retrying'
if ARGV[7] == '0' then
  record[ATTEMPT] = record[ATTEMPT] - 1
else
  record[RETRIES] = record[RETRIES] + 1
end
local is_told = has_heard(run, node, ARGV[11])
local waits = not is_told and (ARGV[10] == '1' or not is_halted(found))
record[READY_AT] = waits and now + delay or now
record[HOLDER], record[CAUSE] = '', ARGV[8]
save(node, record)
if ARGV[6] ~= '' then change('error:' .. node, ARGV[6]) end
put_due(timers, member, record[READY_AT])
put_due(outbox, member, record[READY_AT])
note(found.watched, 'node', tonumber(node), 'retrying', now, record[ATTEMPT], '', ARGV[8])
write(run)
redis.call('SADD', retrying, node)
local is_paused = ARGV[11] ~= '' and redis.call('HEXISTS', run, 'paused') == 1
return {is_told and 'told' or 'retrying', is_paused and 'paused' or found.status, 0}
