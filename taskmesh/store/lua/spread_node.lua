#!lua flags=allow-oom
-- Tells the next dependents of an ended node: those that did not fit into the script that ended it.
-- KEYS  1 run  2 flow  3 open  4 closed  5 outbox of the node's pool  6.. outboxes of the flow's pools,
--       last children if the node is the place before the parent
-- ARGV  1 now  2 run id  3 node  4 how many were told before  5 edges to the next ones  6 '1' = those are the last  7 retention in ms
--       8 which of them are special ('' = none; see prelude_rules.lua)
-- Returns {word, run status, number ready, ready..., skipped...}: spread | again (told before) | behind (a gap) | stale | unknown.
local run, outbox = KEYS[1], KEYS[5]
local now, run_id, node, from = read_clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local edges = cmsgpack.unpack(ARGV[5])

local record, found = look_up(run, node)
if not record then return {'unknown'} end
local is_void = found.status == TERMINATED and tonumber(node) ~= TO_PARENT
if not has_ended(record) or is_void then return {'stale'} end
if record[SPREAD] ~= from then
  if record[SPREAD] ~= SPREAD_DONE and record[SPREAD] < from then return {'behind'} end
  local next_edges = record[NEXT] and {record[NEXT], 1, 0, 0} or edges
  return report('again', found.status, told(run, next_edges, tonumber(node) ~= BEFORE_HOOKS and found.status))
end
check_keys(found, #edges / EDGE_WIDTH)

record[SPREAD] = ARGV[6] == '1' and SPREAD_DONE or from + #edges / EDGE_WIDTH
save(node, record)
if record[SPREAD] == SPREAD_DONE then redis.call('ZREM', outbox, run_id .. '/' .. node) end
local ready, skipped, ended = tell_of(run, run_id, node, record, edges, ARGV[8], 6, now, found)
if tonumber(node) == TO_PARENT then redis.call('ZREM', KEYS[#KEYS], run_id) end
local status = count_down_and_write(run, run_id, ended, found, ARGV[7], now, skipped)
return report('spread', status, ready, skipped)
