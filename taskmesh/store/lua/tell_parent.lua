#!lua flags=allow-oom
-- Tells a node that a child run of it has ended: keeps how, and makes the node ready where it waits for that.
-- KEYS  1 run  2 outbox of the node's pool  3 timers  4 retrying nodes of the run
-- ARGV  1 now  2 run id  3 node  4 ticket by which the node waits for the child  5 ticket, space, how it ended
-- Returns {'woken', attempt, token} | {'again', attempt, token} (it is ready, with or without this news) |
--         {'kept'} (it runs; it hears of it when it would wait) | {'settled'} (it waits for nothing of the kind any more).
local run, outbox, timers, retrying = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node, ticket = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]

local record, found = look_up(run, node)
if not record or not OPEN[found.status] or has_ended(record) or record[STATE] == 'waiting' then return {'settled'} end
local waits = record[STATE] == 'retrying'
if waits and record[CAUSE] ~= 'run:' .. ticket then return {'settled'} end
check_sorted_sets(2, 3)
redis.call('SCARD', retrying)

change('child:' .. node, ARGV[5])
if waits then make_ready_again(run_id, node, record, outbox, now, found.watched, 'told') end
write(run)
if record[STATE] == 'running' then return {'kept'} end
if not waits then return {'again', record[ATTEMPT], record[TOKEN]} end
redis.call('ZREM', timers, run_id .. '/' .. node)
redis.call('SREM', retrying, node)
return {'woken', record[ATTEMPT], record[TOKEN]}
