#!lua
-- Gives the right to run a ready node, or one whose holder is gone, to a holder. Repeated by the holder: the same answer.
-- KEYS  1 run  2 outbox of the node's pool  3 held by the claimer  4 holders
-- ARGV  1 now  2 run id  3 node  4 token of the message  5 holder  6.. fields of the run that the node's arguments need
-- Returns {'claimed', attempt, token, halt, field...}, or {word}: unknown (no such run) | early (the node waits) |
--         held (another living holder runs it) | future (the token was never given), or {'ended', spread}.
local run, outbox, held, holders = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node, holder = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[5]
local OWN_FIELDS = 3

local function answer(record, values)
  return {'claimed', record[ATTEMPT], record[TOKEN], unpack(values, OWN_FIELDS, OWN_FIELDS + #ARGV - 5)}
end

local values = redis.call('HMGET', run, 'node:' .. node, 'watched', 'halt', unpack(ARGV, 6))
local record, watched = unpacked(values[1]), values[2]
if not record then return {redis.call('EXISTS', run) == 0 and 'unknown' or 'early'} end
if has_ended(record) then return {'ended', record[SPREAD]} end
if tonumber(ARGV[4]) > record[TOKEN] then return {'future'} end
if record[STATE] == 'running' then
  if record[HOLDER] == holder then return answer(record, values) end
  local until_time = redis.call('ZSCORE', holders, record[HOLDER])
  if until_time and tonumber(until_time) > now then return {'held'} end
end

record[STATE] = 'running'
record[ATTEMPT] = record[ATTEMPT] + 1
record[TOKEN] = record[TOKEN] + 1
record[STARTED_AT] = now
record[HOLDER] = holder
redis.call('ZREM', outbox, run_id .. '/' .. node)
redis.call('SADD', held, run_id .. '/' .. node)
save(node, record)
note(watched, 'node', tonumber(node), 'running', now, record[ATTEMPT], holder)
write(run)
return answer(record, values)
