#!lua flags=allow-oom
-- Looks after a node that has been due for long: prepares to publish it again when nobody has it any more.
-- KEYS  1 run  2 outbox of the node's pool  3 holders
-- ARGV  1 now  2 run id  3 node
-- Returns {'redrive', attempt, token} | {'held'} (a living holder runs it) | {'settled'} (nothing to do; forgotten).
local run, outbox, holders = KEYS[1], KEYS[2], KEYS[3]
local now, run_id, node = read_clock(ARGV[1]), ARGV[2], ARGV[3]
local member = run_id .. '/' .. node

local values = redis.call('HMGET', run, 'node:' .. node, 'watched')
local record = unpacked(values[1])
if not record or record[SPREAD] == SPREAD_DONE then
  redis.call('ZREM', outbox, member)
  return {'settled'}
end
if record[STATE] == 'running' and is_alive(holders, record[HOLDER], now) then
  redis.call('ZADD', outbox, now, member)
  return {'held'}
end
if has_ended(record) then
  put_due(outbox, member, now)
else
  make_ready_again(run_id, node, record, outbox, now, values[2])
end
write(run)
return {'redrive', record[ATTEMPT], record[TOKEN]}
