#!lua
-- Gives the right to run a ready node, or one whose holder is gone, to a holder. Repeated by the holder: the same answer.
-- The node stays in its pool's outbox until it has ended: that is how the keeper finds it when everybody forgets it.
-- KEYS  1 run  2 holders
-- ARGV  1 now  2 node  3 token of the message  4 holder  5.. fields of the run that the node's arguments need. Where the
--         first is `seen:NODE`, the `node:N` behind it are what a condition of the node reads, which may not have ended:
--         how they stand at the first claim is kept in that field, and is what each later claim gets
-- Returns {'claimed', attempt, token, retries, crashes, attempts before it was reset, ms it was ready for,
--          ms since it was ready first, checkpoint of an earlier attempt, ms until the run's deadline ('' = none), halt,
--          context, field...},
--         or {word}: unknown (no such run) | early (the node waits, or is retrying) |
--         held (another living holder runs it) | future (the token was never given) | paused (the run is),
--         or {'ended', spread}. `halt` says by whom, too.
local run, holders = KEYS[1], KEYS[2]
local now, node, holder = read_clock(ARGV[1]), ARGV[2], ARGV[4]
local HALT = 6
-- The first of the fields in ARGV, and how much further back their values are.
local FIELDS, BEFORE_FIELDS = 5, 3
-- With its first claim a node gets this token.
local FIRST_CLAIM = 2

local function answer(record, values)
  if values[HALT] then values[HALT] = with_cause(run, values[HALT]) end
  local checkpoint = record[TOKEN] > FIRST_CLAIM and redis.call('HGET', run, 'checkpoint:' .. node) or ''
  local waited = record[STARTED_AT] - record[READY_AT]
  local open = record[STARTED_AT] - (record[SCHEDULED_AT] or record[READY_AT])
  local left = values[5] and (values[5] - now) * 1000 or ''
  return {'claimed', record[ATTEMPT], record[TOKEN], record[RETRIES] or 0, record[CRASHES] or 0, record[PAST] or 0,
    waited * 1000, open * 1000, checkpoint, left, unpack(values, HALT, HALT + 1 + #ARGV - 4)}
end

-- Whoever takes the node up later, after whatever end of this one, decides as this one does.
local function keep_seen(values)
  local states = {}
  for at = FIELDS + 1, #ARGV do
    local other = string.match(ARGV[at], '^node:(%d+)$')
    if not other or other == node then break end
    local record = unpacked(values[at + BEFORE_FIELDS])
    states[#states + 1] = tonumber(other)
    states[#states + 1] = record and record[STATE] or 'waiting'
  end
  values[FIELDS + BEFORE_FIELDS] = cmsgpack.pack(states)
  change(ARGV[FIELDS], values[FIELDS + BEFORE_FIELDS])
end

local values = redis.call('HMGET', run, 'node:' .. node, 'watched', 'status', 'paused', 'deadline', 'halt', 'context',
  unpack(ARGV, FIELDS))
local record = unpacked(values[1])
-- An undo comes after what its run was halted for, and after its deadline.
if values[3] == 'compensating' then values[5], values[HALT] = false, false end
if not record then return {redis.call('EXISTS', run) == 0 and 'unknown' or 'early'} end
if values[3] == TERMINATED and tonumber(node) ~= TO_PARENT then return {'ended', SPREAD_DONE} end
if has_ended(record) then return {'ended', record[SPREAD]} end
if record[STATE] == 'retrying' or record[STATE] == 'waiting' then return {'early'} end
if tonumber(ARGV[3]) > record[TOKEN] then return {'future'} end
if record[STATE] == 'running' then
  if record[HOLDER] == holder then return answer(record, values) end
  if is_alive(holders, record[HOLDER], now) then return {'held'} end
end
if values[4] and not values[HALT] then return {'paused'} end

if record[STATE] == 'running' then
  remember_attempt(run, node, record, now, 'ready', 'taken_over', 'the lease of its holder was over')
  remember_schedule(record)
  record[READY_AT] = now
end
record[STATE] = 'running'
record[ATTEMPT] = record[ATTEMPT] + 1
record[TOKEN] = record[TOKEN] + 1
record[STARTED_AT] = now
record[HOLDER] = holder
save(node, record)
if ARGV[FIELDS] == 'seen:' .. node and not values[FIELDS + BEFORE_FIELDS] then keep_seen(values) end
note(values[2], 'node', tonumber(node), 'running', now, record[ATTEMPT], holder)
write(run)
return answer(record, values)
