#!lua
-- Decides about ticks of a schedule: each begins a run, waits, or is passed over. Whichever keeper says so first: a tick is
-- decided about once, since the definition and the next tick must be those that were seen.
-- KEYS  1 schedule  2 schedules by when they begin next  3 due  4 busy  5 passed
-- ARGV  1 now  2 schedule id  3 revision  4 tick from which on was decided (`next` as it was seen)
--       5 tick that comes next ('' = none)  6 when its run begins, in seconds ('+inf' = never)
--       7 msgpack: ticks that begin: tick, run id ...  8 msgpack: ticks that are missed: first, last, how many, why ...
--       9 msgpack: ids of runs that have ended
-- Returns {'fired', 1 = look at it before its next tick, members of due ...} | {'stale'} (another definition)
--         | {'moved'} (decided before; what began is in `due`).
local schedule, schedules, due, busy, passed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, schedule_id = read_clock(ARGV[1]), ARGV[2]
local ticks, missed = cmsgpack.unpack(ARGV[7]), cmsgpack.unpack(ARGV[8])

local found = read_schedule(schedule)
if found.revision ~= ARGV[3] then return {'stale'} end
if found.next ~= ARGV[4] then return {'moved'} end
check_sorted_sets(2, 4)
check_lists(passed)

local function wait_in_line(tick, run_id)
  found.buffer[#found.buffer + 1], found.buffer[#found.buffer + 2] = tick, run_id
end

local function replace_waiting(tick, run_id)
  for at = 1, #found.buffer, TICK_WIDTH do
    pass_over(found, 'skipped', found.buffer[at], found.buffer[at], 1, 'a later tick took its place')
  end
  found.buffer = {tick, run_id}
end

local function offer(tick, run_id)
  local blocker, waiting, policy = blocker_of(found), #found.buffer / TICK_WIDTH, found.overlap
  if found.paused then return pass_over(found, 'skipped', tick, tick, 1, 'the schedule was paused') end
  if policy == 'allow_all' or (not blocker and waiting == 0) then return begin(found, tick, run_id, TICK) end
  if policy == 'terminate_other' then
    wish_for_all(found, 'terminate')
    return begin(found, tick, run_id, TICK)
  end
  if policy == 'cancel_other' then
    wish_for_all(found, 'cancel')
    return replace_waiting(tick, run_id)
  end
  local room = policy == 'buffer_all' and MOST_BUFFERED or (policy == 'buffer_one' and 1 or 0)
  if waiting < room then return wait_in_line(tick, run_id) end
  local why = room > 0 and 'ticks waited already: ' .. waiting or 'run ' .. (blocker or 'before it') .. ' had not ended'
  pass_over(found, 'skipped', tick, tick, 1, why)
end

drop_ended(found, cmsgpack.unpack(ARGV[9]))
for at = 1, #missed, MISSED_WIDTH do
  pass_over(found, 'missed', missed[at], missed[at + 1], missed[at + 2], missed[at + 3])
end
for at = 1, #ticks, TICK_WIDTH do offer(ticks[at], ticks[at + 1]) end

local is_busy = #found.buffer > 0
for at = 1, #found.active, RUN_WIDTH do is_busy = is_busy or found.active[at + 2] ~= '' end
redis.call('HSET', schedule, 'next', ARGV[5])
redis.call('ZADD', schedules, ARGV[6], schedule_id)
if is_busy then redis.call('ZADD', busy, now, schedule_id) end
write_schedule(schedule, due, passed, found, now)
return {'fired', is_busy and 1 or 0, unpack(found.recorded)}
