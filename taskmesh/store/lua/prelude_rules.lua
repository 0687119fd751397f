-- Shared by the scripts, like prelude.lua and after it: when a node begins that needs others.
--
-- Nodes without a rule need no more than their edge says: all that they need must succeed. A chunk of edges to nodes of
-- which some are special comes with a map of those, by node, of {handled, thresholds, program, asked, ends}:
--   handled      1 = some dependent can go on after the node has failed, so its failure is none of the run's
--   thresholds   false, or a rule: nodes needed, least of them that succeeded, failed, were skipped, ran, most that
--                failed, were skipped, whether all must have ended, whether the rule asks for success
--   program      false, or an expression in postfix order: pairs of a node and a word, or of an operator and 0
--   asked        with a program: the nodes whose success it asks for
--   ends         of a hook, which has none of the others: it begins when what it observes has ended so, else it is skipped

-- Makes what decides of special nodes. In a function of its own, since Redis carries out all that stands before a script
-- with each call: where no node is special, this is all that it costs.
local function load_rules()
  -- How nodes have ended, as far as rules tell ends apart; the words of a program are these, and DONE.
  local SUCCEEDED, FAILED, SKIPPED, DONE = 1, 2, 3, 4
  local GROUPS = {succeeded = SUCCEEDED, failed = FAILED, upstream_failed = FAILED, skipped = SKIPPED, cancelled = SKIPPED}
  -- Where the run counts those for a node with thresholds.
  local COUNTERS = {'arrived:', 'failed:', 'skipped:'}
  -- The operators of a program, and its three values, in an order in which "and" is the least and "or" the greatest.
  local AND, OR, NOT = -1, -2, -3
  local FALSE, UNKNOWN, TRUE = 0, 1, 2

  -- Ready, or what the node ends as since it cannot be ready any more, or nil while it waits.
  local function fate_by_thresholds(rule, succeeded, failed, skipped)
    local needed, least_succeeded, least_failed, least_skipped, least_ran, most_failed, most_skipped, waits, asks =
      unpack(rule)
    local ran = succeeded + failed
    local left = needed - ran - skipped
    if failed > most_failed or skipped > most_skipped or succeeded + left < least_succeeded
      or failed + left < least_failed or skipped + left < least_skipped or ran + left < least_ran then
      return asks and failed > 0 and 'upstream_failed' or 'skipped'
    end
    local is_met = succeeded >= least_succeeded and failed >= least_failed and skipped >= least_skipped
      and ran >= least_ran
    return is_met and (not waits or left == 0) and 'ready' or nil
  end

  local function value_of(program, groups)
    local stack = {}
    for at = 1, #program, 2 do
      local node, word = program[at], program[at + 1]
      local top = #stack
      if word > 0 then
        local group = groups[node]
        stack[top + 1] = not group and UNKNOWN or (word == DONE or word == group) and TRUE or FALSE
      elseif node == NOT then
        stack[top] = TRUE - stack[top]
      else
        stack[top - 1] = (node == AND and math.min or math.max)(stack[top - 1], stack[top])
        stack[top] = nil
      end
    end
    return stack[1]
  end

  -- As fate_by_thresholds. `groups` says by node how those that it names have ended.
  local function fate_by_program(program, asked, groups)
    local value = value_of(program, groups)
    if value == UNKNOWN then return nil end
    if value == TRUE then return 'ready' end
    for _, node in ipairs(asked) do
      if groups[node] == FAILED then return 'upstream_failed' end
    end
    return 'skipped'
  end

  -- How the nodes that a program names have ended; `teller` has just ended, which is not written yet.
  local function groups_of(run, program, teller, group)
    local groups, fields, nodes = {}, {}, {}
    for at = 1, #program, 2 do
      if program[at + 1] > 0 then
        nodes[#nodes + 1] = program[at]
        fields[#fields + 1] = 'node:' .. program[at]
      end
    end
    for at, packed in ipairs(redis.call('HMGET', run, unpack(fields))) do
      local record = unpacked(packed)
      groups[nodes[at]] = record and GROUPS[record[STATE]]
    end
    groups[teller] = group
    return groups
  end

  -- What becomes of a special node that `teller` tells of its end.
  local function fate_of(run, node, rule, teller, state)
    local thresholds, program, group = rule[2], rule[3], GROUPS[state]
    if program then return fate_by_program(program, rule[4], groups_of(run, program, teller, group)) end
    redis.call('HINCRBY', run, COUNTERS[group] .. node, 1)
    local counts = redis.call('HMGET', run, COUNTERS[1] .. node, COUNTERS[2] .. node, COUNTERS[3] .. node)
    return fate_by_thresholds(thresholds, tonumber(counts[1] or 0), tonumber(counts[2] or 0), tonumber(counts[3] or 0))
  end

  return fate_of, fate_by_thresholds, fate_by_program
end

-- What becomes of a hook once that which it observes has ended as `state`.
local function fate_of_hook(ends, state)
  for _, each in ipairs(ends) do
    if each == state then return 'ready' end
  end
  return 'skipped'
end

-- Ends a node that cannot run any more. Nil where it has begun, or was ended, before; else whether it has dependents.
local function leave_out(run, run_id, node, fate, is_leaf, outbox, cause, now, watched)
  local past = unpacked(redis.call('HGET', run, 'node:' .. node))
  if past and past[STATE] ~= 'waiting' then return nil end
  local record = fresh_record(fate, past, now)
  record[FINISHED_AT], record[SPREAD], record[CAUSE] = now, is_leaf and SPREAD_DONE or 0, cause
  save(node, record)
  note_end(watched, node, fate, now, 0, '')
  if not is_leaf then put_due(outbox, run_id .. '/' .. node, now) end
  return not is_leaf
end

-- Tells the dependents on `edges` that `teller`, which they need, has ended as `state`. The outbox of pool 0 is
-- KEYS[first_outbox]; `special` is the map above, or false.
-- Returns those that became ready, those that ended thereby and have dependents themselves, and how many ended.
local function tell(run, run_id, teller, state, edges, special, first_outbox, now, found)
  local ready, passing, ended = {}, {}, 0
  local cause, fate_of = 'needs:' .. teller, special and load_rules()
  local fate_of_others = (state == 'failed' or state == 'upstream_failed') and 'upstream_failed' or 'skipped'
  for at = 1, #edges, EDGE_WIDTH do
    local node, needed, outbox = edges[at], edges[at + 1], KEYS[first_outbox + edges[at + 2]]
    local rule = special and special[node]
    local has_rule, fate = rule and (rule[2] or rule[3]), nil
    if rule and rule[5] then
      fate = fate_of_hook(rule[5], state)
    elseif has_rule then
      fate = fate_of(run, node, rule, teller, state)
    elseif state ~= 'succeeded' then
      fate = fate_of_others
    elseif needed == 1 or redis.call('HINCRBY', run, 'arrived:' .. node, 1) == needed then
      fate = 'ready'
    end
    if fate == 'ready' then
      if make_ready(run, run_id, node, outbox, now, has_rule) then ready[#ready + 1] = node end
    elseif fate then
      local passes_on = leave_out(run, run_id, node, fate, edges[at + 3] == 0, outbox, cause, now, found.watched)
      if passes_on ~= nil then ended = ended + 1 end
      if passes_on then passing[#passing + 1] = node end
      if passes_on ~= nil and fate == 'upstream_failed' and not found.failed_node and not (rule and rule[1] == 1) then
        set(found, 'failed_node', node)
      end
    end
  end
  return ready, passing, ended
end
