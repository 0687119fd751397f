#!lua
-- Gives the right to run a ready node, or one whose holder is gone, to a holder. Repeated by the holder: the same answer.
-- KEYS  1 run  2 outbox of the node's pool  3 held by the claimer  4 holders
-- ARGV  1 now  2 run id  3 node  4 token of the message  5 holder  6.. fields of the run that the node's arguments need
-- Returns {'claimed', attempt, token, ready_at, halt, field...}, or {word}: unknown (no such run) | early (the node waits) |
--         held (another living holder runs it) | future (the token was never given), or {'ended', spread}.
local run, outbox, held, holders = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, run_id, node, holder = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[5]

local function answer(record, fields)
  return {'claimed', record[ATTEMPT], record[TOKEN], tostring(record[READY_AT]), unpack(fields, 1, #ARGV - 4)}
end

local record = load(run, node)
if not record then return {redis.call('EXISTS', run) == 0 and 'unknown' or 'early'} end
if has_ended(record) then return {'ended', record[SPREAD]} end
if tonumber(ARGV[4]) > record[TOKEN] then return {'future'} end
local fields = redis.call('HMGET', run, 'halt', unpack(ARGV, 6))
if record[STATE] == 'running' then
  if record[HOLDER] == holder then return answer(record, fields) end
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
save(run, node, record)
announce(run, 'node', tonumber(node), 'running', now, record[ATTEMPT], holder)
return answer(record, fields)
