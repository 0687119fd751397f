#!lua
-- Makes nodes of a reopened run ready, or lets them wait again. One that is not as the caller has seen it stays as it is.
-- KEYS  1 run  2.. outboxes of the flow's pools, and last timers, retrying nodes of the run
-- ARGV  1 now  2 run id  3 kind of the pause  4 for each node: node, its state ('' = no record), its token,
--         ready | waiting | skipped (as nodes that it needs are, which stay so), how many of the nodes that it needs
--         have succeeded (-1 = not counted) and were skipped (the same), number of its pool, and which copy follows it
--         (-1 = the next one). The place before the hooks of the flow comes after those, with how many they are: they wait
--         for all else again. A node that is to be "continued" is ready, and goes on with the child run that it has begun
--       5.. further fields of the run, names and values by turns
-- Returns {'reset'} | {'unknown'} | {'running'} (the run is not paused for that any more).
local run, timers, retrying = KEYS[1], KEYS[#KEYS - 1], KEYS[#KEYS]
local now, run_id = read_clock(ARGV[1]), ARGV[2]
local wishes, WIDTH, FURTHER = cmsgpack.unpack(ARGV[4]), 8, 5
-- Of the signals to which a node has ended before.
local HEARD_KEPT = 20

local values = redis.call('HMGET', run, 'status', 'paused', 'remaining', 'watched')
local paused = unpacked(values[2])
if not values[1] then return {'unknown'} end
if not OPEN[values[1]] or not paused or paused[1] ~= ARGV[3] then return {'running'} end
check_sorted_sets(2, #KEYS - 1)
redis.call('SCARD', retrying)

local gone, reopened, forgotten = {}, 0, {}

local function recount(field, count)
  if count > 0 then change(field, count) end
  if count == 0 then gone[#gone + 1] = field end
end

-- What follows a copy that waits, and what a node keeps that goes on with its child: that has its id from these.
local function refine(fresh, record, follows, is_continued)
  if follows >= 0 then
    remember_schedule(fresh)
    fresh[PAST], fresh[NEXT] = fresh[PAST] or 0, follows
  end
  if is_continued then fresh[SCHEDULED_AT], fresh[RETRIES] = record[SCHEDULED_AT] or record[READY_AT], record[RETRIES] or 0 end
end

-- Its id is remembered: an event may still be kept, and must not count again either.
local function forget_signal(node)
  local signal = unpacked(redis.call('HGET', run, 'signal:' .. node))
  if not signal then return end
  local heard = unpacked(redis.call('HGET', run, 'heard:' .. node)) or {}
  if #heard == HEARD_KEPT then table.remove(heard, 1) end
  heard[#heard + 1] = signal[1]
  change('heard:' .. node, cmsgpack.pack(heard))
end

local function reset(node, record, wanted, arrived, skipped, outbox, follows)
  local is_continued = record and wanted == 'continued'
  if wanted == 'continued' then wanted = 'ready' end
  if is_continued then gone[#gone + 1] = 'child:' .. node end
  if record and has_ended(record) then reopened = reopened + 1 end
  if wanted == 'skipped' then reopened = reopened - 1 end
  if record then
    local error = redis.call('HGET', run, 'error:' .. node)
    remember_attempt(run, node, record, now, wanted, 'reset', error and said(error) or '')
  end
  local fresh = fresh_record(wanted, record, now)
  refine(fresh, record, follows, is_continued)
  if wanted == 'skipped' then
    fresh[FINISHED_AT], fresh[SPREAD], fresh[CAUSE] = now, SPREAD_DONE, record and record[CAUSE] or ''
  end
  if wanted == 'ready' then
    put_due(outbox, run_id .. '/' .. node, now)
  elseif record then
    forgotten[#forgotten + 1] = {'ZREM', outbox, run_id .. '/' .. node}
  end
  if record and record[STATE] == 'retrying' then
    forgotten[#forgotten + 1] = {'ZREM', timers, run_id .. '/' .. node}
    forgotten[#forgotten + 1] = {'SREM', retrying, node}
  end
  if record or wanted ~= 'waiting' or follows >= 0 then
    save(node, fresh)
    note(values[4], 'node', node, wanted, now, fresh[ATTEMPT], '')
  end
  recount('arrived:' .. node, arrived)
  recount('skipped:' .. node, skipped)
  if skipped >= 0 then gone[#gone + 1] = 'failed:' .. node end
  gone[#gone + 1] = 'output:' .. node
  -- Its condition is asked anew.
  gone[#gone + 1] = 'seen:' .. node
  -- What has succeeded begins anew; what has not, where it was.
  if record and record[STATE] == 'succeeded' then gone[#gone + 1] = 'checkpoint:' .. node end
  -- A signal to which a node has ended does not count again; one that came too early for that does.
  if record and (record[STATE] == 'succeeded' or record[STATE] == 'failed') then
    forget_signal(node)
    gone[#gone + 1] = 'signal:' .. node
    gone[#gone + 1] = 'payload:' .. node
  end
end

local function let_hooks_wait(hooks, outbox)
  change('hooks', hooks)
  for _, kind in ipairs({'node:', 'output:', 'error:'}) do gone[#gone + 1] = kind .. BEFORE_HOOKS end
  forgotten[#forgotten + 1] = {'ZREM', outbox, run_id .. '/' .. BEFORE_HOOKS}
end

for at = 1, #wishes, WIDTH do
  local record = unpacked(redis.call('HGET', run, 'node:' .. wishes[at]))
  if (record and record[STATE] or '') == wishes[at + 1] and (record and record[TOKEN] or 0) == wishes[at + 2] then
    if wishes[at] == BEFORE_HOOKS then
      let_hooks_wait(wishes[at + 4], KEYS[2 + wishes[at + 6]])
    else
      reset(wishes[at], record, wishes[at + 3], wishes[at + 4], wishes[at + 5], KEYS[2 + wishes[at + 6]], wishes[at + 7])
    end
  end
end
change('remaining', tonumber(values[3]) + reopened)
for at = FURTHER, #ARGV, 2 do change(ARGV[at], ARGV[at + 1]) end
write(run)
for _, command in ipairs(forgotten) do redis.call(unpack(command)) end
if #gone > 0 then redis.call('HDEL', run, unpack(gone)) end
return {'reset'}
