-- Shared by every script, put before its body.
--
-- A run is one hash:
--   header, flow, params, shard_key   written once by admit_run
--   status, remaining, finished_at    the run's state; remaining = nodes that have not ended
--   halt                              why nothing new may start ("failed", "cancelled"); absent while all is well
--   failed_node                       the first node that failed
--   node:I                            the record of node I (below); absent while the node waits
--   arrived:I                         how many of the nodes that I needs have succeeded
--   output:I, error:I                 what node I gave back, or why it failed
-- A node record is a msgpack array with these places:
local STATE, ATTEMPT, TOKEN, READY_AT, STARTED_AT, FINISHED_AT, HOLDER, SPREAD, CAUSE = 1, 2, 3, 4, 5, 6, 7, 8, 9
-- SPREAD counts the dependents that have been told of the node's end; SPREAD_DONE = all of them.
local SPREAD_DONE = -1
-- An edge is four numbers in a flat array: dependent, how many nodes it needs, number of its pool, how many depend on it.
local EDGE_WIDTH = 4
-- A flow is a hash: body, open_runs.

local function read_clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function load(run, node)
  local packed = redis.call('HGET', run, 'node:' .. node)
  return packed and cmsgpack.unpack(packed)
end

local function save(run, node, record)
  redis.call('HSET', run, 'node:' .. node, cmsgpack.pack(record))
end

local function has_ended(record)
  local state = record[STATE]
  return state ~= 'ready' and state ~= 'running'
end

-- The answer of a script that told dependents: how many became ready, those, then the skipped ones that must tell theirs.
local function report(word, status, ready, skipped)
  local answer = {word, status, #ready}
  for _, node in ipairs(ready) do answer[#answer + 1] = node end
  for _, node in ipairs(skipped) do answer[#answer + 1] = node end
  return answer
end

local function announce(run, ...)
  redis.call('SPUBLISH', run .. ':events', cmsgpack.pack({...}))
end

local function make_ready(run, run_id, node, outbox, now)
  save(run, node, {'ready', 0, 1, now, 0, 0, '', 0, ''})
  redis.call('ZADD', outbox, now, run_id .. '/' .. node)
end

local function skip(run, run_id, node, outbox, now, cause, leaf)
  save(run, node, {'skipped', 0, 1, now, 0, now, '', leaf and SPREAD_DONE or 0, cause})
  if not leaf then redis.call('ZADD', outbox, now, run_id .. '/' .. node) end
  announce(run, 'node', node, 'skipped', now, 0, '')
end

-- Tells the dependents on `edges` that a node they need has ended. The outbox of pool 0 is KEYS[first_outbox].
-- Returns those that became ready, those that were skipped and have dependents themselves, and how many ended.
local function tell(run, run_id, succeeded, edges, first_outbox, cause, now)
  local ready, skipped, ended = {}, {}, 0
  for at = 1, #edges, EDGE_WIDTH do
    local node, needed, outbox, leaf = edges[at], edges[at + 1], KEYS[first_outbox + edges[at + 2]], edges[at + 3] == 0
    if succeeded then
      if needed == 1 or redis.call('HINCRBY', run, 'arrived:' .. node, 1) == needed then
        make_ready(run, run_id, node, outbox, now)
        ready[#ready + 1] = node
      end
    elseif redis.call('HEXISTS', run, 'node:' .. node) == 0 then
      skip(run, run_id, node, outbox, now, cause, leaf)
      ended = ended + 1
      if not leaf then skipped[#skipped + 1] = node end
    end
  end
  return ready, skipped, ended
end

-- What `tell` answered, for a call that is repeated: read from the records, so nothing is counted twice.
local function told(run, edges)
  local ready, skipped = {}, {}
  for at = 1, #edges, EDGE_WIDTH do
    local record = load(run, edges[at])
    if record and record[STATE] == 'ready' then
      ready[#ready + 1] = edges[at]
    elseif record and record[STATE] == 'skipped' and record[SPREAD] ~= SPREAD_DONE then
      skipped[#skipped + 1] = edges[at]
    end
  end
  return ready, skipped
end

-- Counts `ended` nodes off the run and ends the run with its last node. Returns the run's status.
local function count_down(run, run_id, flow, open, closed, ended, retention_ms, now)
  if ended == 0 then return redis.call('HGET', run, 'status') end
  if redis.call('HINCRBY', run, 'remaining', -ended) > 0 then return 'running' end
  local status = redis.call('HGET', run, 'halt')
  if not status then
    status = redis.call('HEXISTS', run, 'failed_node') == 1 and 'failed' or 'succeeded'
  end
  redis.call('HSET', run, 'status', status, 'finished_at', now)
  redis.call('PEXPIRE', run, retention_ms)
  redis.call('ZREM', open, run_id)
  redis.call('ZADD', closed, now, run_id)
  if redis.call('HINCRBY', flow, 'open_runs', -1) <= 0 then redis.call('PEXPIRE', flow, retention_ms) end
  announce(run, 'run', status, now)
  redis.call('SPUBLISH', run .. ':end', status)
  return status
end
