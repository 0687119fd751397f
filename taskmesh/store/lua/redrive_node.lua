#!lua flags=allow-oom
-- Prepares to publish again a node whose message was lost, or whose dependents were not all told.
-- KEYS  1 run  2 outbox of the node's pool
-- ARGV  1 now  2 run id  3 node
-- Returns {'redrive', attempt, token} | {'settled'} (nothing to do; forgotten).
local run, outbox = KEYS[1], KEYS[2]
local now, run_id, node = read_clock(ARGV[1]), ARGV[2], ARGV[3]
local member = run_id .. '/' .. node

local record = unpacked(redis.call('HGET', run, 'node:' .. node))
local pending = record and (record[STATE] == 'ready' or (has_ended(record) and record[SPREAD] ~= SPREAD_DONE))
if not pending then
  redis.call('ZREM', outbox, member)
  return {'settled'}
end
if record[STATE] == 'ready' then
  record[TOKEN] = record[TOKEN] + 1
  save(node, record)
end
put_due(outbox, member, now)
write(run)
return {'redrive', record[ATTEMPT], record[TOKEN]}
