#!lua flags=allow-oom
-- Makes a retrying node ready when its delay is over, or when its run is halted: its claim will cancel it then.
-- KEYS  1 run  2 outbox of the node's pool  3 timers  4 retrying nodes of the run
-- ARGV  1 now  2 run id  3 node
-- Returns {'woken', attempt, token} | {'again', attempt, token} (it was ready before) | {'early'} (not due yet) |
--         {'settled'} (nothing to do; the timer is forgotten).
local run, outbox, timers, retrying = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node = read_clock(ARGV[1]), ARGV[2], ARGV[3]

local record, found = look_up(run, node)
local gone = not record or found.status == TERMINATED
local waits = not gone and record[STATE] == 'retrying'
if waits and record[READY_AT] > now and not is_halted(found) then return {'early'} end
check_sorted_sets(2, 3)
redis.call('SCARD', retrying)

if waits then
  make_ready_again(run_id, node, record, outbox, now, found.watched, 'woken')
  write(run)
end
redis.call('ZREM', timers, run_id .. '/' .. node)
redis.call('SREM', retrying, node)
if gone or record[STATE] ~= 'ready' then return {'settled'} end
return {waits and 'woken' or 'again', record[ATTEMPT], record[TOKEN]}
