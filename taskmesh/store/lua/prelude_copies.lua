-- Shared by the scripts, like prelude_rules.lua and after it: copies of one node, of which only so many may run at once.
--
-- The first of them are made ready when the run is admitted; with the end of each, the next one is. So as long as not all
-- have begun, some have begun and not ended. In a halted run the next ones are ended instead, many at a time.

-- Makes what does that; in a function of its own for the same reason as the rules.
local function load_copies()
  -- How many copies of a halted run the end of one ends.
  local LEFT_OUT_AT_ONCE = 199

  -- The places that one end lets begin or leaves out: first, last, and which begins, nil where none does.
  local function next_copies(run, bound, is_halted)
    local most, count = unpack(cmsgpack.unpack(bound))
    local place = tonumber(redis.call('HGET', run, 'begun') or most)
    if place >= count then return 1, 0 end
    if not is_halted then return place, place, place end
    local last = place + LEFT_OUT_AT_ONCE
    if last >= count then return place, count - 1 end
    return place, last, last
  end

  -- To be called before the record is saved, whose node ends: what it lets begin is told again from there.
  local function note_next(record, last, begins)
    if last > 0 then change('begun', last + 1) end
    if not begins then return end
    remember_schedule(record)
    record[PAST], record[NEXT] = record[PAST] or 0, begins
  end

  -- Answers with what became ready and how many ended thereby.
  local function tell_next(run, run_id, node, first, last, begins, first_outbox, now, found)
    local left_out = {}
    for place = first, last do
      if place ~= begins then
        for _, part in ipairs({place, 1, 0, 0}) do left_out[#left_out + 1] = part end
      end
    end
    local _, _, ended = tell(run, run_id, node, 'skipped', left_out, false, first_outbox, now, found)
    local ready = begins and tell(run, run_id, node, 'succeeded', {begins, 1, 0, 0}, false, first_outbox, now, found) or {}
    return ready, ended
  end

  return next_copies, note_next, tell_next
end
