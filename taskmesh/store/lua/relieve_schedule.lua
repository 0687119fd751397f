#!lua
-- Lets ticks of a schedule go that waited for the end of a run, and past ones that wait for their turn. What a keeper that
-- was slower lets go is by how things stand now, so none goes twice.
-- KEYS  1 schedule  2 due  3 busy  4 passed  5 backfill
-- ARGV  1 now  2 schedule id  3 revision  4 msgpack: ids of runs that have ended
-- Returns {'relieved', members of due ...} | {'stale'} (another definition).
local schedule, due, busy, passed, backfill = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, schedule_id = read_clock(ARGV[1]), ARGV[2]
local PAST_PER_CALL = 100

local found = read_schedule(schedule)
if found.revision ~= ARGV[3] then return {'stale'} end
check_sorted_sets(2, 3)
check_lists(passed)
local past = redis.call('ZCARD', backfill)

drop_ended(found, cmsgpack.unpack(ARGV[4]))
local blocker = blocker_of(found)
if not found.paused and #found.buffer > 0 and not blocker then
  local tick, run_id = table.remove(found.buffer, 1), table.remove(found.buffer, 1)
  begin(found, tick, run_id, TICK)
end
local free = math.min(found.backfill_active - active_backfills(found), PAST_PER_CALL)
local taken = {}
if not found.paused and past > 0 and free > 0 then
  taken = redis.call('ZRANGE', backfill, 0, free - 1)
  for _, member in ipairs(taken) do
    local run_id, tick = string.match(member, '^(.*)|(%d+)$')
    begin(found, tonumber(tick), run_id, BACKFILL)
  end
end

local is_busy = #found.buffer > 0 or past > #taken
for at = 1, #found.active, RUN_WIDTH do is_busy = is_busy or found.active[at + 2] ~= '' end
if #taken > 0 then redis.call('ZREM', backfill, unpack(taken)) end
if is_busy then redis.call('ZADD', busy, now, schedule_id) else redis.call('ZREM', busy, schedule_id) end
write_schedule(schedule, due, passed, found, now)
return {'relieved', unpack(found.recorded)}
