#!lua flags=allow-oom
-- Takes a running node from its holder and makes it ready again, with a higher token.
-- KEYS  1 run  2 held by the holder  3 outbox of the node's pool
-- ARGV  1 now  2 run id  3 node  4 holder  5 token ('' = whatever it is)  6 '1' = the attempt counts, '0' = it does not
-- Returns {'released', attempt, token} | {'stale'}.
local run, held, outbox = KEYS[1], KEYS[2], KEYS[3]
local now, run_id, node, holder, token = read_clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local member = run_id .. '/' .. node

local values = redis.call('HMGET', run, 'node:' .. node, 'watched')
local record, watched = unpacked(values[1]), values[2]
if not record or record[STATE] ~= 'running' or record[HOLDER] ~= holder or (token ~= '' and record[TOKEN] ~= tonumber(token)) then
  if token == '' then redis.call('SREM', held, member) end
  return {'stale'}
end
record[STATE] = 'ready'
record[TOKEN] = record[TOKEN] + 1
record[READY_AT] = now
record[HOLDER] = ''
if ARGV[6] == '0' then record[ATTEMPT] = record[ATTEMPT] - 1 end
save(node, record)
put_due(outbox, member, now)
note(watched, 'node', tonumber(node), 'ready', now, record[ATTEMPT], holder)
redis.call('SREM', held, member)
write(run)
return {'released', record[ATTEMPT], record[TOKEN]}
