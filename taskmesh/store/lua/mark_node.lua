#!lua
-- Ends an unfinished node by hand, whatever it was doing, and tells the dependents as settle_node does.
-- KEYS  1 run  2 flow  3 open  4 closed  5 outbox of the node's pool  6.. outboxes of the flow's pools,
--       and last timers, retrying nodes of the run
-- ARGV  1 now  2 run id  3 node  4 succeeded | skipped  5 output  6 cause: by whom and why
--       7 edges to the dependents  8 '1' = those are all  9 retention in ms
--       10 '1' = a success of the node can be undone
--       11 which dependents are special ('' = none; see prelude_rules.lua)
--       12 '1' = the node waits for its turn, and cannot be marked before: a hook of the flow, or a copy as of 13
--       13 '' = all of the first nodes may run at once; else how many may, and how many there are, packed
-- Returns {word, run status, number ready, ready..., skipped...}: marked | again (the same call before) |
--         ended (the run has, or the node otherwise), or {'unknown'} | {'preparing', kind, 0} |
--         {'early'} (it still waits for its turn).
local run, outbox, timers, retrying = KEYS[1], KEYS[5], KEYS[#KEYS - 1], KEYS[#KEYS]
local now, run_id, node, state, cause = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[6]
local edges = cmsgpack.unpack(ARGV[7])

local record, found = look_up(run, node)
if record and record[NEXT] and has_ended(record) then edges = {record[NEXT], 1, 0, 0} end
if not found.status then return {'unknown'} end
local paused = OPEN[found.status] and unpacked(redis.call('HGET', run, 'paused'))
if paused and REOPENING[string.match(paused[1], '^%a+')] then return {'preparing', paused[1], 0} end
if record and has_ended(record) then
  if record[STATE] ~= state or record[CAUSE] ~= cause then return {'ended', found.status, 0} end
  return report('again', found.status, told(run, edges, found.status))
end
if not OPEN[found.status] then return {'ended', found.status, 0} end
if ARGV[12] == '1' and (not record or record[STATE] == 'waiting') then return {'early'} end
redis.call('HLEN', KEYS[2])
check_sorted_sets(3, #KEYS - 1)
redis.call('SCARD', retrying)
check_events(found.watched)
local is_bound, left_out, next_copies, note_next, tell_next, begins, following = ARGV[13] ~= '', {}
if is_bound then
  next_copies, note_next, tell_next = load_copies()
  left_out, begins, following = next_copies(run, ARGV[13], found.halt)
end

if record and record[STATE] == 'running' then remember_attempt(run, node, record, now, state, 'marked', cause) end
local marked = fresh_record(state, record, now)
marked[READY_AT], marked[FINISHED_AT], marked[CAUSE] = 0, now, cause
if is_bound then note_next(marked, left_out, begins, following) end
marked[SPREAD] = ARGV[8] == '1' and SPREAD_DONE or #edges / EDGE_WIDTH
save(node, marked)
if marked[SPREAD] == SPREAD_DONE then
  redis.call('ZREM', outbox, run_id .. '/' .. node)
else
  put_due(outbox, run_id .. '/' .. node, now)
end
if record and record[STATE] == 'retrying' then
  redis.call('ZREM', timers, run_id .. '/' .. node)
  redis.call('SREM', retrying, node)
end
if state == 'succeeded' then change('output:' .. node, ARGV[5]) end
change('altered', 1)
note_end(found.watched, tonumber(node), state, now, marked[ATTEMPT], '')
note_outcome(found, node, state, ARGV[10] == '1')
local ready, skipped, ended = tell_of(run, run_id, node, marked, edges, ARGV[11], 6, now, found)
if is_bound then ready, ended = tell_next(run, run_id, node, left_out, begins, 6, now, found) end
local status = count_down_and_write(run, run_id, ended + 1, found, ARGV[9], now, skipped)
return report('marked', status, ready, skipped)
