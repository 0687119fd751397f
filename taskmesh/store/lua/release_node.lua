#!lua flags=allow-oom
-- Hands a running node back: it is ready again, with a higher token. Repeated: the same answer.
-- KEYS  1 run  2 outbox of the node's pool
-- ARGV  1 now  2 run id  3 node  4 token  5 '1' = its executor is gone, '0' = the attempt does not count
--       6 holder
-- Returns {'released', attempt, token} | {'stale'}.
local run, outbox = KEYS[1], KEYS[2]
local now, run_id, node = read_clock(ARGV[1]), ARGV[2], ARGV[3]

local values = redis.call('HMGET', run, 'node:' .. node, 'watched', 'status')
local record = values[3] ~= TERMINATED and unpacked(values[1])
local token = tonumber(ARGV[4])
if record and record[STATE] == 'ready' and record[TOKEN] == token + 1 then
  return {'released', record[ATTEMPT], record[TOKEN]}
end
if not record or record[STATE] ~= 'running' or not is_of(record, token, ARGV[6]) then return {'stale'} end
remember_attempt(run, node, record, now, 'ready', 'released', ARGV[5] == '0' and '' or 'its executor died')
if ARGV[5] == '0' then
  record[ATTEMPT] = record[ATTEMPT] - 1
else
  remember_schedule(record)
  record[CRASHES] = record[CRASHES] + 1
end
make_ready_again(run_id, node, record, outbox, now, values[2], 'released')
write(run)
return {'released', record[ATTEMPT], record[TOKEN]}
