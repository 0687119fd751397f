#!lua
-- Stores a run that goes on from where another one is, paused: what it inherits of that one is written then, its other
-- nodes are made ready or waiting, and after that it is resumed.
-- KEYS  1 run  2 flow  3 open  4 timers, if there is a deadline
-- ARGV  1 now  2 run id  3 digest of what it was asked for  4 flow body ('' = must be stored)  5 header  6 flow hash
--       7 params  8 shard key  9 number of nodes  10 seconds until its deadline ('' = none)
--       11 place of the undo of node 0 ('' = none of the nodes can be undone)  12 kind of the pause  13 by whom  14 why
--       15 where it comes from  16 what it inherits  17.. further fields of the run, names and values
-- Returns {'admitted'} | {'preparing', kind} (it is there, and still to be prepared) | {'same'} (it is there) |
--         {'conflict'} | {'flow_missing'}.
local run, flow, open = KEYS[1], KEYS[2], KEYS[3]
local now, run_id, body, kind = read_clock(ARGV[1]), ARGV[2], ARGV[4], ARGV[12]

local known = redis.call('HMGET', run, 'digest', 'status', 'paused')
if known[1] then
  local paused = OPEN[known[2]] and unpacked(known[3])
  if known[1] ~= ARGV[3] then return {'conflict'} end
  if paused and paused[1] == kind then return {'preparing', kind} end
  return {'same'}
end
if body == '' and redis.call('HEXISTS', flow, 'body') == 0 then return {'flow_missing'} end
check_sorted_sets(3)

if body ~= '' then redis.call('HSET', flow, 'body', body) end
if redis.call('HINCRBY', flow, 'open_runs', 1) == 1 then redis.call('PERSIST', flow) end
changes = {'header', ARGV[5], 'digest', ARGV[3], 'flow', ARGV[6], 'params', ARGV[7], 'shard_key', ARGV[8],
  'submitted_at', now, 'status', 'running', 'remaining', ARGV[9], 'altered', 1,
  'paused', cmsgpack.pack({kind, ARGV[13], ARGV[14], now}), 'forked_from', ARGV[15], 'inherits', ARGV[16]}
if ARGV[10] ~= '' then
  local deadline = now + tonumber(ARGV[10])
  change('deadline', deadline)
  put_due(KEYS[4], run_id .. '/' .. RUN_DEADLINE, deadline)
end
if ARGV[11] ~= '' then change('undo_base', ARGV[11]) end
for at = 17, #ARGV, 2 do change(ARGV[at], ARGV[at + 1]) end
write(run)
redis.call('ZADD', open, now, run_id)
return {'admitted'}
