#!lua
-- Stores a run and makes its first nodes ready; or says that it is there already.
-- KEYS  1 run  2 flow  3 open  4.. outboxes of the flow's pools, then timers if there is a deadline,
--       last children if it is one that ends with its parent
-- ARGV  1 now ('' = the server's)  2 run id  3 digest of flow and parameters  4 flow body ('' = must be stored)
--       5 header  6 flow hash  7 params  8 shard key  9 number of nodes  10 edges to the first nodes  11 '1' = those are all
--       12 seconds until its deadline ('' = none)
--       13 place of the undo of node 0 ('' = none of the nodes can be undone)
--       14 how many fields with items must be there ('' = none; see stage_items)
--       15 seconds until it is looked whether its parent still waits for it ('' = it is no child that ends with its parent)
--       16.. further fields of the run, names and values by turns
-- Returns {word, ready...}: admitted | same | conflict | flow_missing (or its items are).
-- Repeated: the same answer but "same".
local run, flow, open, first_outbox = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, digest, body = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local edges = cmsgpack.unpack(ARGV[10])

local known = redis.call('HGET', run, 'digest')
if known then
  if known ~= digest then return {'conflict'} end
  return {'same', unpack((told(run, edges)))}
end
if body == '' and redis.call('HEXISTS', flow, 'body') == 0 then return {'flow_missing'} end
if ARGV[14] ~= '' and redis.call('HGET', run, 'staged') ~= ARGV[14] then return {'flow_missing'} end
check_sorted_sets(3)

if body ~= '' then redis.call('HSET', flow, 'body', body) end
if redis.call('HINCRBY', flow, 'open_runs', 1) == 1 then redis.call('PERSIST', flow) end
changes = {'header', ARGV[5], 'digest', digest, 'flow', ARGV[6], 'params', ARGV[7], 'shard_key', ARGV[8],
  'submitted_at', now, 'status', 'running', 'remaining', ARGV[9]}
if ARGV[12] ~= '' then
  local deadline = now + tonumber(ARGV[12])
  change('deadline', deadline)
  put_due(KEYS[ARGV[15] == '' and #KEYS or #KEYS - 1], run_id .. '/' .. RUN_DEADLINE, deadline)
end
if ARGV[13] ~= '' then change('undo_base', ARGV[13]) end
if ARGV[14] ~= '' then redis.call('PERSIST', run) end
if ARGV[15] ~= '' then put_due(KEYS[#KEYS], run_id, now + tonumber(ARGV[15])) end
for at = 16, #ARGV, 2 do change(ARGV[at], ARGV[at + 1]) end
if ARGV[11] == '0' then
  -- The first nodes are too many for one script: node -1 stands before them and spreads like any other.
  save(-1, {'succeeded', 0, 1, now, now, now, '', #edges / EDGE_WIDTH, ''})
  put_due(first_outbox, run_id .. '/-1', now)
end
local ready = tell(run, run_id, -1, 'succeeded', edges, false, 4, now, {})
write(run)
redis.call('ZADD', open, now, run_id)
return {'admitted', unpack(ready)}
