-- Shared by the scripts about schedules, put before their body as far as they use it.
--
-- A schedule is one hash:
--   revision          drawn from the partition's counter by every change of its definition, with the start of the digest
--   definition:R      what revision R says, with its flow; older ones stay while ticks of theirs are in `due`
--   older             msgpack array of those; absent without any
--   digest            of the newest definition
--   overlap           its policy, as of model/schedules/schedule.py
--   next              the first tick that nothing was decided about, in ms; '' when none comes any more
--   starting          how many of its ticks are in `due`
--   active            msgpack array of runs that have begun and may not have ended: id, kind, wish ... (flat)
--   buffer            msgpack array of ticks that wait for the end of a run: tick, run id ... (flat)
--   paused            a msgpack array: by, why, at; absent else
--   backfill_active   how many backfilled runs may be active at once
--   triggered         id of the run that was triggered last
--   begun, skipped, missed, refused    how many ticks became what
--   created_at, updated_at
--   removed           there when it was removed while ticks of it were in `due`
-- Its other keys are lists of the newest things first: `started` of runs, `passed` of ticks that did not become any; and
-- `backfill`, a sorted set of RUN|TICK that wait to be run, in that order.
-- A member of the partition's `due` is a tick that is to be admitted, RUN|TICK|REVISION|KIND; `busy` holds the schedules
-- that must be looked at before their next tick, by when they were looked at last.
local RUN_WIDTH, TICK_WIDTH, MISSED_WIDTH = 3, 2, 4
local RUNS_KEPT, PASSED_KEPT = 100, 100
local MOST_ACTIVE, MOST_BUFFERED = 1000, 1000
-- The kinds of runs.
local TICK, TRIGGER, BACKFILL = 'tick', 'trigger', 'backfill'

local function read_schedule(key)
  local values = redis.call('HMGET', key, 'revision', 'next', 'paused', 'overlap', 'active', 'buffer', 'starting',
    'backfill_active', 'removed')
  return {
    revision = not values[9] and values[1], next = values[2], paused = unpacked(values[3]), overlap = values[4],
    active = unpacked(values[5]) or {}, buffer = unpacked(values[6]) or {}, starting = tonumber(values[7] or 0),
    backfill_active = tonumber(values[8] or 0), counted = {}, passed = {}, recorded = {},
  }
end

local function count_tick(found, field, number)
  found.counted[field] = (found.counted[field] or 0) + number
end

-- Says visibly that ticks begin no run; how many is 0 where nobody has counted them.
local function pass_over(found, kind, first, last, number, why)
  found.passed[#found.passed + 1] = {kind, first, last, number, why}
  count_tick(found, kind, number)
end

local function drop_ended(found, ended)
  local gone, active = {}, {}
  for _, run_id in ipairs(ended) do gone[run_id] = true end
  for at = 1, #found.active, RUN_WIDTH do
    if not gone[found.active[at]] then
      for place = at, at + RUN_WIDTH - 1 do active[#active + 1] = found.active[place] end
    end
  end
  found.active = active
end

-- The first active run that a tick may have to wait for; those that fill gaps of the past do not count.
local function blocker_of(found)
  for at = 1, #found.active, RUN_WIDTH do
    if found.active[at + 1] ~= BACKFILL then return found.active[at] end
  end
end

local function active_backfills(found)
  local number = 0
  for at = 1, #found.active, RUN_WIDTH do
    if found.active[at + 1] == BACKFILL then number = number + 1 end
  end
  return number
end

-- Records that a tick begins a run: it stays in `due` until that is admitted.
local function begin(found, tick, run_id, kind)
  if #found.active >= MOST_ACTIVE * RUN_WIDTH then
    return pass_over(found, 'skipped', tick, tick, 1, MOST_ACTIVE .. ' runs had not ended')
  end
  if found.overlap ~= 'allow_all' or kind == BACKFILL then
    for _, value in ipairs({run_id, kind, ''}) do found.active[#found.active + 1] = value end
  end
  found.recorded[#found.recorded + 1] = run_id .. '|' .. string.format('%.0f', tick) .. '|' .. found.revision .. '|' .. kind
  count_tick(found, 'begun', 1)
end

local function wish_for_all(found, wish)
  for at = 1, #found.active, RUN_WIDTH do
    if found.active[at + 1] ~= BACKFILL then found.active[at + 2] = wish end
  end
end

-- Writes what has gathered. `next` is written by the caller; `passed` is a list, the newest first.
local function write_schedule(key, due, passed, found, now)
  for _, entry in ipairs(found.passed) do
    local newest = unpacked(redis.call('LINDEX', passed, 0))
    if newest and newest[1] == entry[1] and newest[5] == entry[5] then
      local number = (newest[4] > 0 and entry[4] > 0) and newest[4] + entry[4] or 0
      redis.call('LSET', passed, 0, cmsgpack.pack({entry[1], newest[2], entry[3], number, entry[5], now}))
    else
      redis.call('LPUSH', passed, cmsgpack.pack({entry[1], entry[2], entry[3], entry[4], entry[5], now}))
    end
  end
  if #found.passed > 0 then redis.call('LTRIM', passed, 0, PASSED_KEPT - 1) end
  for _, member in ipairs(found.recorded) do redis.call('ZADD', due, now, member) end
  for field, number in pairs(found.counted) do redis.call('HINCRBY', key, field, number) end
  redis.call('HSET', key, 'active', cmsgpack.pack(found.active), 'buffer', cmsgpack.pack(found.buffer),
    'starting', found.starting + #found.recorded)
end

local function check_lists(...)
  for _, key in ipairs({...}) do redis.call('LLEN', key) end
end
