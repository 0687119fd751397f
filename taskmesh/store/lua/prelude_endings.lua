-- Shared by the scripts, like prelude_rules.lua and after it: how undos are told, and how a run ends.

local function lets_pass(record)
  return record[STATE] == 'succeeded' or record[CAUSE] == NOTHING_TO_UNDO
end

local function is_undo(found, node)
  return found.undo_base and (tonumber(node) >= found.undo_base or tonumber(node) == BEFORE_UNDOS)
end

-- Why an undo that is told by the last one before it must not run; '' where it may. `cause` is what the last one says.
local function cause_of_block(blocked, cause, found)
  if cause ~= '' or not blocked then return cause end
  local number, earlier = string.match(blocked, '^(%d+)/(.*)$')
  return number == found.compensation and earlier or ''
end

-- The record of an undo that all undos before it have told: ready, or ended where it was done before, or must not run.
local function next_of_undo(run, undo, can_undo, cause, found, now)
  local values = redis.call('HMGET', run, 'node:' .. undo, 'node:' .. undo - found.undo_base, 'blocked:' .. undo)
  local known, undone = unpacked(values[1]), unpacked(values[2])
  if known and lets_pass(known) then return known end
  local token = known and known[TOKEN] + 1 or 1
  cause = cause_of_block(values[3], cause, found)
  local is_own = undone and undone[STATE] == 'succeeded' and undone[CAUSE] ~= INHERITED
  if cause == '' and not (can_undo and is_own) then cause = NOTHING_TO_UNDO end
  if known then
    local error = redis.call('HGET', run, 'error:' .. undo)
    remember_attempt(run, undo, known, now, cause == '' and 'ready' or 'skipped', 'reset', error and said(error) or '')
  end
  if cause == '' then return {'ready', 0, token, now, 0, 0, '', 0, ''} end
  return {'skipped', 0, token, now, 0, now, '', 0, cause}
end

-- Tells the undos on `edges` that one before them has ended; `cause` is '' where it lets them pass. Answers as `tell`.
-- An undo hears from all before it, each time that undoing is begun, before anything becomes of it.
local function tell_undos(run, run_id, cause, edges, first_outbox, now, found)
  local ready, skipped, ended = {}, {}, 0
  for at = 1, #edges, EDGE_WIDTH do
    local undo, needed, pool, leaf = edges[at], edges[at + 1], edges[at + 2], edges[at + 3] == 0
    if needed == 1 or redis.call('HINCRBY', run, 'arrived:' .. undo, 1) == needed * found.compensation then
      local record = next_of_undo(run, undo, pool >= 0, cause, found, now)
      local waits = record[STATE] == 'ready'
      record[SPREAD] = (leaf and not waits) and SPREAD_DONE or 0
      save(undo, record)
      if not waits then ended = ended + 1 end
      if not lets_pass(record) and not waits then note(found.watched, 'node', undo, 'skipped', now, 0, '') end
      if record[SPREAD] == 0 then
        put_due(KEYS[first_outbox + math.max(pool, 0)], run_id .. '/' .. undo, now)
        local list = waits and ready or skipped
        list[#list + 1] = undo
      end
    elseif cause ~= '' then
      change('blocked:' .. undo, found.compensation .. '/' .. cause)
    end
  end
  return ready, skipped, ended
end

-- Tells the dependents of an ended node, in its own direction. `special` is packed, '' where none of them is.
local function tell_of(run, run_id, node, record, edges, special, first_outbox, now, found)
  if is_undo(found, node) then
    return tell_undos(run, run_id, lets_pass(record) and '' or 'needs:' .. node, edges, first_outbox, now, found)
  end
  local map = special ~= '' and cmsgpack.unpack(special)
  return tell(run, run_id, tonumber(node), record[STATE], edges, map, first_outbox, now, found)
end

-- Ends a run and writes all that has gathered. KEYS 2, 3, 4 are the flow, the open runs and the closed runs; `outbox`
-- is that of the flow's first pool, where the place before the parent stands until the parent was told. Returns whether
-- there is a parent.
local function end_run_and_write(run, run_id, status, retention_ms, now, watched, outbox)
  local is_child = redis.call('HEXISTS', run, 'parent') == 1
  if is_child then
    save(TO_PARENT, {'succeeded', 0, 1, now, now, now, '', 0, ''})
    put_due(outbox, run_id .. '/' .. TO_PARENT, now)
  end
  change('status', status)
  change('finished_at', now)
  note(watched, 'run', status, now)
  write(run)
  redis.call('PEXPIRE', run, retention_ms)
  redis.call('ZREM', KEYS[3], run_id)
  redis.call('ZADD', KEYS[4], now, run_id)
  if redis.call('HINCRBY', KEYS[2], 'open_runs', -1) <= 0 then redis.call('PEXPIRE', KEYS[2], retention_ms) end
  redis.call('SPUBLISH', run .. ':end', status)
  return is_child
end

-- What the end of a node means for that of its run.
local function note_outcome(found, node, state, can_be_undone, is_handled)
  if is_undo(found, node) then
    if found.undos ~= 'failed' then set(found, 'undos', state == 'succeeded' and 'done' or 'failed') end
  elseif state == 'failed' and not is_handled and not found.failed_node then
    set(found, 'failed_node', node)
  elseif state == 'succeeded' and can_be_undone and not found.undos then
    set(found, 'undos', 'some')
  end
end

local function final_status(found)
  if found.undos == 'failed' then return 'compensation_failed' end
  if found.undos == 'done' then return 'compensated' end
  return found.halt or (found.failed_node and 'failed') or 'succeeded'
end

-- From now on the nodes of a run that count are its undos; they are told from the place before the first of them.
local function begin_undos_and_write(run, run_id, found, outbox, now)
  change('status', 'compensating')
  change('remaining', found.undo_base)
  change('compensation', (found.compensation or 0) + 1)
  save(BEFORE_UNDOS, {'succeeded', 0, 1, now, now, now, '', 0, ''})
  put_due(outbox, run_id .. '/' .. BEFORE_UNDOS, now)
  note(found.watched, 'run', 'compensating', now)
  write(run)
  redis.call('HDEL', run, 'paused')
  return 'compensating'
end

-- Counts `ended` nodes off a run and writes all that has gathered. With the last one the run ends, or its undos begin:
-- the place before them, or before its parent, goes to `skipped`. Returns its status.
-- KEYS as of `end_run_and_write`; KEYS[6] is the outbox of the flow's first pool.
local function count_down_and_write(run, run_id, ended, found, retention_ms, now, skipped)
  local remaining = tonumber(found.remaining) - ended
  if ended == 0 or remaining > 0 then
    if ended > 0 then change('remaining', remaining) end
    write(run)
    return found.status
  end
  local status = final_status(found)
  if found.compensation and found.undos == 'some' and status ~= 'succeeded' and found.status == 'running' then
    skipped[#skipped + 1] = BEFORE_UNDOS
    return begin_undos_and_write(run, run_id, found, KEYS[6], now)
  end
  change('remaining', 0)
  local is_child = end_run_and_write(run, run_id, status, retention_ms, now, found.watched, KEYS[6])
  if is_child then skipped[#skipped + 1] = TO_PARENT end
  return status
end
