#!lua
-- Keeps a signal for a node that waits for one, or will; the first one counts. A node that is parked becomes ready.
-- One that runs was claimed before the signal came: it is taken from its holder, who would park it or let it time out.
-- KEYS  1 run  2 outbox of the node's pool  3 timers  4 retrying nodes of the run
-- ARGV  1 now  2 run id  3 node  4 id of the signal  5 by whom  6 payload
--       7 what the run remembers of it  8 '1' = it does not count again for a node that had ended with it and waits anew
-- Returns {word, attempt, token} of the node, to be published, or {word, 0, 0} (whoever claims it finds the signal), the
--         word being signalled | again (the same signal before), or {'taken', by whom} (another signal was first) |
--         {'ended', status of the run} (the node has, or the run) | {'unknown'} | {'nothing'} (it does not count again).
local run, outbox, timers, retrying = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node, id = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]

local values = redis.call('HMGET', run, 'status', 'node:' .. node, 'signal:' .. node, 'watched')
local record, known = unpacked(values[2]), unpacked(values[3])
if not values[1] then return {'unknown'} end
local is_open = OPEN[values[1]] and not (record and has_ended(record))
if known and known[1] == id then
  local waits = is_open and record and record[STATE] == 'ready'
  return {'again', waits and record[ATTEMPT] or 0, waits and record[TOKEN] or 0}
end
if not is_open then return {'ended', values[1]} end
if known then return {'taken', known[2]} end
for _, heard in ipairs(ARGV[8] == '1' and unpacked(redis.call('HGET', run, 'heard:' .. node)) or {}) do
  if heard == id then return {'nothing'} end
end
check_sorted_sets(2, 3)
redis.call('SCARD', retrying)

local is_parked = record and record[STATE] == 'retrying'
local is_claimed = record and record[STATE] == 'running'
change('signal:' .. node, cmsgpack.pack({id, ARGV[5], now}))
change('payload:' .. node, ARGV[6])
remember(run, 'signal', now, tonumber(node), ARGV[5], ARGV[7])
if is_claimed then
  remember_attempt(run, node, record, now, 'ready', 'signalled', '')
  record[ATTEMPT] = record[ATTEMPT] - 1
end
if is_parked or is_claimed then make_ready_again(run_id, node, record, outbox, now, values[4], 'signalled') end
write(run)
if is_parked then
  redis.call('ZREM', timers, run_id .. '/' .. node)
  redis.call('SREM', retrying, node)
end
if not is_parked and not is_claimed then return {'signalled', 0, 0} end
return {'signalled', record[ATTEMPT], record[TOKEN]}
