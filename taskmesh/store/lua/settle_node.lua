#!lua flags=allow-oom
-- Records the end of an attempt, if the token is still the node's, and tells the dependents.
-- KEYS  1 run  2 flow  3 open  4 closed  5 held by the holder  6 outbox of the node's pool  7.. outboxes of the dependents
-- ARGV  1 now  2 run id  3 node  4 token  5 succeeded | failed | cancelled  6 output  7 error  8 halt ('' = go on)
--       9 edges to the dependents  10 '1' = those are all  11 retention in ms
-- Returns {word, run status, number ready, ready..., skipped...}: settled | again (the same call before) | stale | unknown.
local run, held, outbox = KEYS[1], KEYS[5], KEYS[6]
local now, run_id, node, token, state = read_clock(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local edges = cmsgpack.unpack(ARGV[9])
local member = run_id .. '/' .. node

local record = load(run, node)
if not record then return {'unknown'} end
if record[TOKEN] ~= token then return {'stale'} end
if has_ended(record) then
  return report('again', redis.call('HGET', run, 'status'), told(run, edges))
end
if record[STATE] ~= 'running' then return {'stale'} end

local count = #edges / EDGE_WIDTH
record[STATE] = state
record[FINISHED_AT] = now
record[SPREAD] = ARGV[10] == '1' and SPREAD_DONE or count
save(run, node, record)
redis.call('SREM', held, member)
if state == 'succeeded' then
  redis.call('HSET', run, 'output:' .. node, ARGV[6])
elseif ARGV[7] ~= '' then
  redis.call('HSET', run, 'error:' .. node, ARGV[7])
end
if state == 'failed' then redis.call('HSETNX', run, 'failed_node', node) end
if ARGV[8] ~= '' then redis.call('HSETNX', run, 'halt', ARGV[8]) end
if record[SPREAD] ~= SPREAD_DONE then redis.call('ZADD', outbox, now, member) end

announce(run, 'node', tonumber(node), state, now, record[ATTEMPT], record[HOLDER])
local ready, skipped, ended = tell(run, run_id, state == 'succeeded', edges, 7, 'needs:' .. node, now)
local status = count_down(run, run_id, KEYS[2], KEYS[3], KEYS[4], ended + 1, ARGV[11], now)
return report('settled', status, ready, skipped)
