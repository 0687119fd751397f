#!lua flags=allow-oom
-- Records the end of an attempt, if the node is still its holder's with its token, and tells the dependents.
-- KEYS  1 run  2 flow  3 open  4 closed  5 outbox of the node's pool  6.. outboxes of the flow's pools, last halted runs if it halts
-- ARGV  1 now  2 run id  3 node  4 token  5 succeeded | failed | cancelled | skipped (it was no attempt)
--       6 output  7 error  8 halt ('' = go on)  9 edges to the dependents  10 '1' = those are all  11 retention in ms
--       12 how it succeeded, where that is not by its own task ('' = it is), or why it was skipped
--       13 '1' = a success of the node can be undone  14 '1' = a failure has what was committed undone  15 holder
--       16 which dependents are special ('' = none; see prelude_rules.lua)
--       17 '1' = a failure is one that some dependent can take
--       18 '' = all of the first nodes may run at once; else how many may, and how many there are, packed
--       19 of copies: how many may fail before 8 holds ('' = it holds)
-- Returns {word, run status, number ready, ready..., skipped...}: settled | again (the same call before) | stale | unknown.
local run, outbox = KEYS[1], KEYS[5]
local now, run_id, node, token, state = read_clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local edges = cmsgpack.unpack(ARGV[9])

local record, found = look_up(run, node)
if not record then return {'unknown'} end
if not is_of(record, token, ARGV[15]) or found.status == TERMINATED then return {'stale'} end
if record[NEXT] then edges = {record[NEXT], 1, 0, 0} end
if has_ended(record) then return report('again', found.status, told(run, edges, found.status)) end
if record[STATE] ~= 'running' then return {'stale'} end
local failures = ARGV[8] ~= '' and ARGV[19] ~= '' and tonumber(redis.call('HGET', run, 'failures') or 0) + 1
local is_tolerated = failures and failures <= tonumber(ARGV[19])
local is_halting, is_bound, left_out = ARGV[8] ~= '' and not is_tolerated and not found.halt, ARGV[18] ~= '', {}
local next_copies, note_next, tell_next, begins, following
if is_bound then
  next_copies, note_next, tell_next = load_copies()
  left_out, begins, following = next_copies(run, ARGV[18], found.halt or is_halting)
end
check_keys(found, #edges / EDGE_WIDTH + 1 + #left_out)

record[STATE], record[CAUSE] = state, ARGV[12]
record[FINISHED_AT] = now
if state == 'skipped' then record[ATTEMPT], record[STARTED_AT] = record[ATTEMPT] - 1, 0 end
if is_bound then note_next(record, left_out, begins, following) end
record[SPREAD] = ARGV[10] == '1' and SPREAD_DONE or #edges / EDGE_WIDTH
save(node, record)
if record[SPREAD] == SPREAD_DONE then redis.call('ZREM', outbox, run_id .. '/' .. node) end
if state == 'succeeded' then
  change('output:' .. node, ARGV[6])
elseif ARGV[7] ~= '' then
  change('error:' .. node, ARGV[7])
end
note_outcome(found, node, state, ARGV[13] == '1', ARGV[17] == '1')
-- Also where somebody handles the failure: should the run fail for what follows from it, that is undone.
if state == 'failed' and ARGV[14] == '1' and not found.halt and not found.compensation then set(found, 'compensation', 0) end
if is_halting then set(found, 'halt', ARGV[8]) end
if failures then change('failures', failures) end
note_end(found.watched, tonumber(node), state, now, record[ATTEMPT], record[HOLDER])
local ready, skipped, ended = tell_of(run, run_id, node, record, edges, ARGV[16], 6, now, found)
if is_bound then ready, ended = tell_next(run, run_id, node, left_out, begins, 6, now, found) end
-- What is left of it is ended by the keeper, where nobody claims it.
if is_halting and tonumber(found.remaining) > ended + 1 then put_due(KEYS[#KEYS], run_id, now) end
local status = count_down_and_write(run, run_id, ended + 1, found, ARGV[11], now, skipped)
return report('settled', status, ready, skipped)
