-- Shared by the scripts: what one uses of this stands before its body. At the margin there are only local statements.
--
-- A run is one hash:
--   header, digest, flow, params, shard_key, submitted_at   written once by admit_run
--   context                           what is said of the request that it serves; absent where that is nothing
--   status, remaining, finished_at    the run's state; remaining = nodes that have not ended
--   halt                              why nothing new may start ("failed", "cancelled"); absent while all is well
--   halted_by                         who ended it early, a msgpack array: by, why, at
--   paused                            why no ready node starts now, a msgpack array: kind, by, why, at; absent else.
--                                     kind: "user", or what is being prepared, after which the run goes on
--   failed_node                       the first node that failed, or could not run for a failure, that nobody handles
--   deadline                          when it ends at the latest; absent where it may take any time
--   altered                           there when nodes have been reset, or ended by hand: a node may have a record before
--                                     all that it needs has ended
--   history, history:N                how many things were remembered (below), and the newest of them; no field without any
--   watched                           who wants to hear of transitions, each of which is announced then: 1 = who watches,
--                                     "runs" or "nodes" = whoever gets the events that the flow has sent of their ends
--   undo_base                         place of the undo of node 0, as many as the flow has nodes; absent where none can be undone
--   undos                             "some": a node that has succeeded can be undone, "done": one was, "failed": an undo failed
--   compensation                      how often undoing was begun; absent while nothing says that it is to be, at the end
--   node:I                            the record of node I (below); absent while the node waits, unless it has run before
--   arrived:I                         how many of the nodes that I needs have succeeded
--   failed:I, skipped:I               the same of those that have failed, and were skipped; where I has a rule for them
--   output:I, error:I                 what node I gave back, or why its last attempt failed
--   items:N, staged                   of copies, the fields with their items, and how many there are (see stage_items)
--   begun                             of copies of which only so many may run at once, which one begins next; absent while
--                                     that is the first that waits
--   failures                          of copies of which only so many may fail, how many have; absent while none has
--   checkpoint:I                      what an attempt of node I said last of its progress
--   seen:I                            how the nodes stood that a condition of node I reads when I was taken up first, where
--                                     they may change after that: a msgpack array of nodes and states by turns
--   signal:I, payload:I               what node I waits for, once it has come: a msgpack array (id, by, at), and what it says
--   heard:I                           ids of signals that node I had heard before it was reset, a msgpack array
--   forked_from                       where a fork comes from, a msgpack array: run, nodes, changed parameters, by, why
--   inherits                          which nodes it takes from there, and as of when, a msgpack array
--   parent                            whom its end is told, a msgpack array (dispatch/family.py); absent in one that is no child
--   pins                              which versions the registered flows have that it begins, a msgpack map
--   child:I                           the last end of a child run that node I has heard of: its ticket, a space, then how, packed
--   hooks                             how many hooks of the flow wait for the end of all else; absent once they were told
--   blocked:I                         "NUMBER/CAUSE": with the undoing of that number, an undo before undo I has failed
-- A node record is a msgpack array with these places:
local STATE, ATTEMPT, TOKEN, READY_AT, STARTED_AT, FINISHED_AT, HOLDER, SPREAD, CAUSE = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- and, once it has been ready more than once, when it was ready first, how many attempts ended in a retry, and how many
-- with their executor:
local SCHEDULED_AT, RETRIES, CRASHES = 10, 11, 12
-- and how many attempts it had when it was reset: those do not count any more.
local PAST = 13
-- and of copies of which only so many may run at once (see prelude_copies.lua), which one began with its end; or of one
-- that waits, which one follows it, where that is not its neighbour.
local NEXT = 14
-- READY_AT of a node that is retrying is the time at which it is to be tried again. CAUSE says why a node did not run,
-- what one that is retrying waits for ("breaker:NAME", "sleep", "signal", or just the time), "fallback" where that gave
-- the output, and "inherited" where that is the output of another run.
-- SPREAD counts the dependents that have been told of the node's end; SPREAD_DONE = all of them.
local SPREAD_DONE = -1
-- An edge is four numbers in a flat array: dependent, how many nodes it needs, number of its pool, how many depend on it.
-- The pool of an undo is -1 where nothing could undo its node; it stands in the outbox of pool 0 then.
local EDGE_WIDTH = 4
-- The undo of node I is a node, too, at the place undo_base + I; the edges between undos are those of the flow, reversed.
-- This place stands before the undos of the last nodes.
local BEFORE_UNDOS = -4
-- This place stands before the parent of a run that is a child: whoever takes it up tells the parent of the run's end.
local TO_PARENT = -5
-- This place stands before the hooks of the flow; its output is how the run is going to end and which node has failed, its
-- error that of this node, '' where there is none.
local BEFORE_HOOKS = -6
-- As the cause of a skipped undo: there was nothing to undo, so the undos after it go on.
local NOTHING_TO_UNDO = 'nothing'
-- As the cause of a success: the node ran in the run from which this one was forked, and is that one's to undo.
local INHERITED = 'inherited'
-- As the node of a timer: the run itself, which ends at its deadline.
local RUN_DEADLINE = -3
-- How many things a run remembers.
local HISTORY_KEPT = 10000
-- How much of an error it remembers.
local SAID_BYTES = 500
-- A flow is a hash: body, open_runs.

local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- The states of a run that goes on; one that is terminated has no right to write anything, whatever its nodes are.
local OPEN = {running = true, compensating = true}
local TERMINATED = 'terminated'
-- Those that an ended run may have when it is reopened. What runs are prepared for: the first word of the kind of a pause.
local REOPENABLE = {succeeded = true, failed = true, cancelled = true, terminated = true}
local REOPENING = {retry = true, rerun = true, fork = true}

local function unpacked(packed)
  return packed and cmsgpack.unpack(packed)
end

local function has_ended(record)
  local state = record[STATE]
  return state ~= 'ready' and state ~= 'running' and state ~= 'retrying' and state ~= 'waiting'
end

-- Whether an attempt is still the node's: a store that has lost writes may give the same token to another holder.
local function is_of(record, token, holder)
  return record[TOKEN] == token and record[HOLDER] == holder
end

-- Writes to the run's hash and to sorted sets gather here and are carried out together by `write`, last.
local changes, due, events, outdated = {}, {}, {}, {}

local function change(field, value)
  changes[#changes + 1] = field
  changes[#changes + 1] = value
end

local function set(found, field, value)
  found[field] = value
  change(field, value)
end

local function save(node, record)
  change('node:' .. node, cmsgpack.pack(record))
end

local function put_due(outbox, member, now)
  local pairs_of = due[outbox]
  if not pairs_of then
    pairs_of = {}
    due[outbox] = pairs_of
  end
  pairs_of[#pairs_of + 1] = now
  pairs_of[#pairs_of + 1] = member
end

local function note(watched, ...)
  if watched then events[#events + 1] = cmsgpack.pack({...}) end
end

-- Keeps what the stored state will not tell any more, as a msgpack array: kind, at, then what belongs to the kind.
-- Never called on the way of a node that goes well.
local remembered
local function remember(run, ...)
  local number = remembered or tonumber(redis.call('HGET', run, 'history') or 0)
  remembered = number + 1
  change('history:' .. number, cmsgpack.pack({...}))
  if number >= HISTORY_KEPT then outdated[#outdated + 1] = 'history:' .. number - HISTORY_KEPT end
end

-- What a stored error says, as far as it is kept; errors are msgpack maps.
local function said(error)
  local is_read, fields = pcall(cmsgpack.unpack, error)
  if not is_read or type(fields) ~= 'table' then return '' end
  local text = (fields.type or '') .. ': ' .. (fields.message or '')
  if #text <= SAID_BYTES then return text end
  -- Not to end within a character.
  return (text:sub(1, SAID_BYTES):gsub('[\192-\255][\128-\191]*$', ''))
end

-- Keeps the attempt that a record tells of, before the node becomes `state` by `cause` without that attempt's end.
local function remember_attempt(run, node, record, now, state, cause, why)
  remember(run, 'node', now, tonumber(node), state, cause, record[ATTEMPT], record[HOLDER], record[READY_AT],
    record[STARTED_AT], why, record[STATE], record[FINISHED_AT])
end

-- The keeper takes events from a sorted set of the run's partition, by when they came to be; no script is told more than the
-- run, so the key is read from the run's own. An event is a msgpack array: run, kind, node, state, at, attempt.
-- When nobody could publish for so long that there is no more room, the oldest go, and are counted.
local EVENTS_KEPT = 50000
local EVENT_STEP = 0.000001

local function events_key()
  return string.match(KEYS[1], '^(.-}:)run:') .. 'emitted'
end

local function sends_events(watched)
  return watched == 'runs' or watched == 'nodes'
end

-- As check_sorted_sets, for the keys that `emit` writes to.
local function check_events(watched)
  if not sends_events(watched) then return end
  redis.call('ZCARD', events_key())
  redis.call('GET', events_key() .. ':lost')
end

local function make_room_for_event(key)
  local surplus = redis.call('ZCARD', key) - EVENTS_KEPT + 1
  if surplus <= 0 then return end
  redis.call('ZREMRANGEBYRANK', key, 0, surplus - 1)
  redis.call('INCRBY', key .. ':lost', surplus)
end

-- Has an end sent as an event, where the flow asks for that; `node` is -1 for that of the run.
local function emit(watched, kind, node, state, now, attempt)
  if watched ~= 'nodes' and not (watched == 'runs' and kind == 'run') then return end
  local key = events_key()
  make_room_for_event(key)
  local before = due[key] and #due[key] / 2 or 0
  local run_id = string.match(KEYS[1], '}:run:(.*)$')
  put_due(key, cmsgpack.pack({run_id, kind, tonumber(node), state, now, attempt}), now + before * EVENT_STEP)
end

local function note_end(watched, node, state, now, attempt, ...)
  note(watched, 'node', node, state, now, attempt, ...)
  emit(watched, 'node', node, state, now, attempt)
end

local function write(run)
  -- The run's hash has been read before, so it is one; a sorted set may be the first to be touched here.
  for outbox, pairs_of in pairs(due) do redis.call('ZADD', outbox, unpack(pairs_of)) end
  if remembered then change('history', remembered) end
  if #changes > 0 then redis.call('HSET', run, unpack(changes)) end
  if #outdated > 0 then redis.call('HDEL', run, unpack(outdated)) end
  for _, event in ipairs(events) do redis.call('SPUBLISH', run .. ':events', event) end
end

-- Stops at a key that is no sorted set while nothing is written: what a script has written stays when it stops later.
local function check_sorted_sets(first, last)
  for at = first, last or #KEYS do
    if KEYS[at] ~= KEYS[at - 1] then redis.call('ZCARD', KEYS[at]) end
  end
end

-- Whether a holder's lease is in force.
local function is_alive(holders, holder, now)
  local until_time = redis.call('ZSCORE', holders, holder)
  return until_time and tonumber(until_time) > now
end

-- Whether nothing new of a run may start. Undos may: they come after what it was halted for.
local function is_halted(found)
  return found.halt and found.status == 'running'
end

-- A status with the words of who asked for it.
local function with_cause(run, status)
  local who = unpacked(redis.call('HGET', run, 'halted_by'))
  if not who then return status end
  return status .. ' by ' .. who[1] .. (who[2] ~= '' and ': ' .. who[2] or '')
end

-- To be called before READY_AT is overwritten. All places, as a table with a gap is packed as a map.
local function remember_schedule(record)
  record[SCHEDULED_AT] = record[SCHEDULED_AT] or record[READY_AT]
  record[RETRIES] = record[RETRIES] or 0
  record[CRASHES] = record[CRASHES] or 0
end

-- What runs has no right to run any more: its token is behind. The cause is announced: released, redriven,
-- woken or signalled.
local function make_ready_again(run_id, node, record, outbox, now, watched, cause)
  if record[STATE] ~= 'ready' then
    remember_schedule(record)
    record[READY_AT] = now
  end
  record[STATE] = 'ready'
  record[TOKEN] = record[TOKEN] + 1
  record[HOLDER], record[CAUSE] = '', ''
  save(node, record)
  put_due(outbox, run_id .. '/' .. node, now)
  note(watched, 'node', tonumber(node), 'ready', now, record[ATTEMPT], '', cause)
end

-- Whether the run is `altered`; set by `look_up`.
local altered = false

-- The record of a node that is ready, or waits until it is; `past` is what it had before it was reset.
local function fresh_record(state, past, now)
  if not past then return {state, 0, 1, now, 0, 0, '', 0, ''} end
  return {state, past[ATTEMPT], past[TOKEN] + 1, now, 0, 0, '', 0, '', now, 0, 0, past[ATTEMPT]}
end

-- Makes a node ready that has all that it needs; not one that somebody has ended by hand meanwhile, or, where a rule may
-- be met early, that has begun.
local function make_ready(run, run_id, node, outbox, now, may_have_begun)
  local past = (altered or may_have_begun) and unpacked(redis.call('HGET', run, 'node:' .. node))
  if past and past[STATE] ~= 'waiting' then return false end
  save(node, fresh_record('ready', past, now))
  put_due(outbox, run_id .. '/' .. node, now)
  return true
end

-- What `tell` answered, for a call that is repeated: read from the records, so nothing is counted twice.
local function told(run, edges, status)
  local ready, skipped = {}, {}
  local function look_at(node)
    local record = unpacked(redis.call('HGET', run, 'node:' .. node))
    if record and record[STATE] == 'ready' then
      ready[#ready + 1] = node
    elseif record and has_ended(record) and record[SPREAD] ~= SPREAD_DONE then
      skipped[#skipped + 1] = node
    end
  end
  for at = 1, #edges, EDGE_WIDTH do look_at(edges[at]) end
  if status == 'compensating' then look_at(BEFORE_UNDOS) end
  if status and not OPEN[status] then look_at(TO_PARENT) end
  -- Told or not: the answer with the hooks that became ready may have been lost, too.
  if status and redis.call('HEXISTS', run, 'node:' .. BEFORE_HOOKS) == 1 then skipped[#skipped + 1] = BEFORE_HOOKS end
  return ready, skipped
end

-- The answer of a script that told dependents: how many became ready, those, then the ended ones that must tell theirs.
local function report(word, status, ready, skipped)
  local answer = {word, status, #ready}
  for _, node in ipairs(ready) do answer[#answer + 1] = node end
  for _, node in ipairs(skipped) do answer[#answer + 1] = node end
  return answer
end

-- Stops at a key of the wrong type before `tell` and `count_down_and_write`, which may end so many nodes, write anything.
local function check_keys(found, most_ended)
  local may_end_run = tonumber(found.remaining) <= most_ended
  if may_end_run then redis.call('HLEN', KEYS[2]) end
  check_sorted_sets(may_end_run and 3 or 5)
  check_events(found.watched)
end

-- Whether a node has heard of the end of the child run that it waits for; what it hears before it waits is kept.
local function has_heard(run, node, ticket)
  local heard = ticket ~= '' and redis.call('HGET', run, 'child:' .. node)
  return heard and string.sub(heard, 1, #ticket + 1) == ticket .. ' '
end

-- The record of a node and what `count_down_and_write` needs to know of its run, in one read.
local function look_up(run, node)
  local values = redis.call('HMGET', run, 'node:' .. node, 'remaining', 'status', 'halt', 'failed_node', 'watched',
    'altered', 'undo_base', 'undos', 'compensation', 'hooks')
  altered = values[7]
  return unpacked(values[1]), {
    remaining = values[2], status = values[3], halt = values[4], failed_node = values[5], watched = values[6],
    undo_base = tonumber(values[8]), undos = values[9], compensation = values[10], hooks = tonumber(values[11] or 0),
  }
end
