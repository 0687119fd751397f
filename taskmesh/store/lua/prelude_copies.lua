-- Shared by the scripts, like prelude_rules.lua and after it: copies of one node, of which only so many may run at once.
--
-- The first of them are made ready when the run is admitted; with the end of each, the next one is. So as long as not all
-- have begun, some have begun and not ended. In a halted run the next ones are ended instead, many at a time. In a run that
-- goes on after its end only some run again; one that waits has a record then where another follows it than its neighbour.

-- Makes what does that; in a function of its own for the same reason as the rules.
local function load_copies()
  -- How many copies of a halted run the end of one ends.
  local LEFT_OUT_AT_ONCE = 199

  local function after(run, place)
    local waiting = altered and unpacked(redis.call('HGET', run, 'node:' .. place))
    return waiting and waiting[STATE] == 'waiting' and waiting[NEXT] or place + 1
  end

  -- Those that one end leaves out, the one that it lets begin, nil where none does, and the one that comes after these.
  local function next_copies(run, bound, is_halted)
    local most, count = unpack(cmsgpack.unpack(bound))
    local place, left_out = tonumber(redis.call('HGET', run, 'begun') or most), {}
    while is_halted and place < count and #left_out < LEFT_OUT_AT_ONCE do
      left_out[#left_out + 1] = place
      place = after(run, place)
    end
    if place >= count then return left_out, nil, place end
    return left_out, place, after(run, place)
  end

  -- To be called before the record is saved, whose node ends: what it lets begin is told again from there.
  local function note_next(record, left_out, begins, following)
    if begins or #left_out > 0 then change('begun', following) end
    if not begins then return end
    remember_schedule(record)
    record[PAST], record[NEXT] = record[PAST] or 0, begins
  end

  -- Answers with what became ready and how many ended thereby.
  local function tell_next(run, run_id, node, left_out, begins, first_outbox, now, found)
    local edges = {}
    for _, place in ipairs(left_out) do
      for _, part in ipairs({place, 1, 0, 0}) do edges[#edges + 1] = part end
    end
    local _, _, ended = tell(run, run_id, node, 'skipped', edges, false, first_outbox, now, found)
    local ready = begins and tell(run, run_id, node, 'succeeded', {begins, 1, 0, 0}, false, first_outbox, now, found) or {}
    return ready, ended
  end

  return next_copies, note_next, tell_next
end
