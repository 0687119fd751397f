#!lua flags=allow-oom
-- Looks after a node that has been due for long: prepares to publish it again when nobody has it any more.
-- One that waits for its next attempt should have been woken by then; its timer is set again.
-- KEYS  1 run  2 outbox of the node's pool  3 holders  4 timers  5 keeper
-- ARGV  1 now  2 run id  3 node  4 epoch of the keeper that looks ('' = not as a keeper)
-- Returns {'redrive', attempt, token} | {'held'} (a living holder runs it, or its run is paused) |
--         {'retrying'} (its timer will bring it) |
--         {'settled'} (nothing to do; forgotten) | {'stale'} (another keeper has taken over).
local run, outbox, holders, timers = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node = read_clock(ARGV[1]), ARGV[2], ARGV[3]
local member = run_id .. '/' .. node

if ARGV[4] ~= '' and redis.call('HGET', KEYS[5], 'epoch') ~= ARGV[4] then return {'stale'} end

local values = redis.call('HMGET', run, 'node:' .. node, 'watched', 'halt', 'paused', 'status')
local record = unpacked(values[1])
local is_void = values[5] == TERMINATED and tonumber(node) ~= TO_PARENT
if not record or record[SPREAD] == SPREAD_DONE or record[STATE] == 'waiting' or is_void then
  redis.call('ZREM', outbox, member)
  return {'settled'}
end
local halted = is_halted({halt = values[3], status = values[5]})
local is_paused = values[4] and not halted and not has_ended(record) and record[STATE] ~= 'retrying'
if is_paused or (record[STATE] == 'running' and is_alive(holders, record[HOLDER], now)) then
  redis.call('ZADD', outbox, now, member)
  return {'held'}
end
if record[STATE] == 'retrying' then
  local due_at = halted and now or record[READY_AT]
  check_sorted_sets(2)
  redis.call('ZADD', timers, due_at, member)
  redis.call('ZADD', outbox, math.max(now, due_at), member)
  return {'retrying'}
end
if has_ended(record) then
  put_due(outbox, member, now)
else
  if record[STATE] == 'running' then
    remember_attempt(run, node, record, now, 'ready', 'redriven', 'the lease of its holder was over')
  end
  make_ready_again(run_id, node, record, outbox, now, values[2], 'redriven')
end
write(run)
return {'redrive', record[ATTEMPT], record[TOKEN]}
