"""The conformance tour finds each of these mistakes, put into the scripts on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from taskmesh.store.link import Link
from taskmesh.store.scripts import Script, Scripts
from tests.model.case import Situation
from tests.model.child_situations import FAMILY
from tests.model.hook_situations import HOOKED
from tests.model.lives import SLICE
from tests.model.ruled_situations import RULED
from tests.model.situations import SITUATIONS
from tests.model.tour import Tour


@dataclass(frozen=True)
class Mistake:
    """An edit of one script: ``old`` becomes ``new`` in its text."""

    script: str
    old: str
    new: str


MISTAKES = {
    "a stale token settles": Mistake("settle_node", "not is_of(record, token, ARGV[15])", "record[HOLDER] ~= ARGV[15]"),
    "another holder settles": Mistake("settle_node", "not is_of(record, token, ARGV[15])", "record[TOKEN] ~= token"),
    "a repeated settle counts twice": Mistake("settle_node", "if has_ended(record) then", "if false then"),
    "the first failure is forgotten": Mistake(
        "settle_node", "not is_handled and not found.failed_node", "not is_handled"
    ),
    "a node that tells leaves the outbox too early": Mistake(
        "settle_node", "if record[SPREAD] == SPREAD_DONE then redis", "if true then redis"
    ),
    "the end of a run forgets its halt": Mistake("settle_node", "found.halt or (", "("),
    "a flow counts its ended runs": Mistake("settle_node", "'open_runs', -1)", "'open_runs', 0)"),
    "a skipped leaf waits to tell": Mistake("settle_node", "is_leaf and SPREAD_DONE or 0", "0"),
    "a join starts with its first input": Mistake("settle_node", "1) == needed then", "1) >= 1 then"),
    "a slice is told twice": Mistake("spread_node", "if record[SPREAD] ~= from then", "if false then"),
    "a gap between slices is not noticed": Mistake("spread_node", "return {'behind'}", "from = record[SPREAD]"),
    "a skipped node is skipped again": Mistake(
        "spread_node", "if past and past[STATE] ~= 'waiting' then return nil end", ""
    ),
    "a claim takes the node out of the outbox": Mistake(
        "claim_node",
        "write(run)\nreturn answer",
        "redis.call('ZREM', string.gsub(run, 'run:(.*)', 'outbox:one'), string.match(run, 'run:(.*)') .. '/' .. node)\n"
        "write(run)\nreturn answer",
    ),
    "a claim hides that the run was halted": Mistake("claim_node", "'deadline', 'halt'", "'deadline', 'nothing'"),
    "a claim keeps the token": Mistake(
        "claim_node", "record[TOKEN] = record[TOKEN] + 1\nrecord[STARTED_AT]", "record[STARTED_AT]"
    ),
    "a claim takes from the living": Mistake("claim_node", "if is_alive(", "if false and is_alive("),
    "a lease lasts for ever": Mistake("claim_node", "tonumber(until_time) > now", "true"),
    "a token from the future is taken": Mistake("claim_node", "return {'future'}", ""),
    "a re-drive takes from the living": Mistake("redrive_node", "and is_alive(", "and false and is_alive("),
    "a re-drive keeps the token": Mistake("redrive_node", "record[TOKEN] = record[TOKEN] + 1", ""),
    "a re-drive forgets who has not told all": Mistake("redrive_node", "SPREAD] == SPREAD_DONE", "STATE] ~= 'ready'"),
    "a repeated retry is remembered twice": Mistake(
        "retry_node",
        "if record[STATE] == 'retrying' then return",
        "if record[STATE] == 'retrying' then remember(run, 'again', now) write(run) return",
    ),
    "a pause is remembered each time": Mistake(
        "pause_run", "if paused then return", "if paused then remember(run, 'pause', now, 'paused') write(run) return"
    ),
    "a stale token releases": Mistake("release_node", "not is_of(record, token, ARGV[6])", "record[HOLDER] ~= ARGV[6]"),
    "another holder releases": Mistake("release_node", "not is_of(record, token, ARGV[6])", "record[TOKEN] ~= token"),
    "an attempt that does not count is counted": Mistake("release_node", "if ARGV[5] == '0' then", "if false then"),
    "a claim comes without the context": Mistake("claim_node", "'halt', 'context',", "'halt', 'nothing',"),
    "a run forgets its context": Mistake("admit_run", "for at = 16, #ARGV, 2 do", "for at = 18, #ARGV, 2 do"),
    "a fork forgets its context": Mistake("fork_run", "for at = 17, #ARGV, 2 do", "for at = 19, #ARGV, 2 do"),
    "another body is taken for the same": Mistake("admit_run", "if known ~= digest then", "if false then"),
    "a run that is there is stored again": Mistake("admit_run", "\nif known then", "\nif false then"),
    "many first nodes are never told": Mistake("admit_run", "  put_due(first_outbox, run_id .. '/-1', now)", ""),
    "a run forgets its deadline": Mistake(
        "admit_run",
        "  put_due(KEYS[ARGV[15] == '' and #KEYS or #KEYS - 1], run_id .. '/' .. RUN_DEADLINE, deadline)\n",
        "",
    ),
    "a stale attempt leaves a checkpoint": Mistake(
        "beat_node", "not is_of(record, tonumber(ARGV[2]), ARGV[4])", "record[HOLDER] ~= ARGV[4]"
    ),
    "another holder leaves a checkpoint": Mistake(
        "beat_node", "not is_of(record, tonumber(ARGV[2]), ARGV[4])", "record[TOKEN] ~= tonumber(ARGV[2])"
    ),
    "a heartbeat hides that the run was halted": Mistake("beat_node", "values[2] or ''", "'' or ''"),
    "a heartbeat without details forgets the checkpoint": Mistake("beat_node", "if ARGV[3] ~= '' then", "if true then"),
    "a claim brings no checkpoint": Mistake("claim_node", "record[TOKEN] > FIRST_CLAIM and", "false and"),
    "a claim does not keep what a condition reads": Mistake("claim_node", "then keep_seen(values) end", "then end"),
    "a reset node is decided by what was seen before": Mistake(
        "reset_nodes", "  gone[#gone + 1] = 'seen:' .. node\n", ""
    ),
    "a copy begins again and again": Mistake(
        "settle_node", "if begins or #left_out > 0 then change('begun', following) end", ""
    ),
    "no copy begins after the first": Mistake("settle_node", "return left_out, place, after(run, place)", "return {}"),
    "a copy of a halted run begins": Mistake("settle_node", "while is_halted and place", "while false and place"),
    "the failure that halts a run lets the next copy begin": Mistake(
        "settle_node", "found.halt or is_halting", "found.halt"
    ),
    "one failure more of copies is tolerated": Mistake("settle_node", "'failures') or 0) + 1", "'failures') or 0)"),
    "failures of copies are not counted": Mistake("settle_node", "change('failures', failures)", ""),
    "copies that begin again skip none between them": Mistake("settle_node", "and waiting[NEXT] or", "and nil or"),
    "a copy that is ended by hand lets no other begin": Mistake(
        "mark_node", "if is_bound then note_next(marked, left_out, begins, following) end\n", ""
    ),
    "a copy is ended by hand before it has begun": Mistake("mark_node", "return {'early'}", ""),
    "copies that are left out are not counted": Mistake("settle_node", "return ready, ended", "return ready, 0"),
    "a repeated settle forgets the copy that it let begin": Mistake(
        "settle_node", "if record[NEXT] then edges = {record[NEXT], 1, 0, 0} end\n", ""
    ),
    "a retry keeps its holder": Mistake(
        "retry_node", "record[HOLDER], record[CAUSE] = '', ARGV[8]", "record[CAUSE] = ARGV[8]"
    ),
    "a repeated retry counts twice": Mistake(
        "retry_node", "if record[STATE] == 'retrying' then return {'again', found.status, 0} end", ""
    ),
    "another holder retries": Mistake("retry_node", " or record[HOLDER] ~= ARGV[9]", ""),
    "a stale token retries": Mistake("retry_node", "if record[TOKEN] ~= tonumber(ARGV[4]) or", "if"),
    "a retry sets no timer": Mistake("retry_node", "put_due(timers, member, record[READY_AT])\n", ""),
    "a retry of a halted run waits": Mistake("retry_node", "(ARGV[10] == '1' or not is_halted(found))", "true"),
    "a retry is not counted": Mistake("retry_node", "record[RETRIES] + 1", "record[RETRIES]"),
    "a node is woken too early": Mistake("wake_node", "record[READY_AT] > now", "false"),
    "a halted run sleeps on": Mistake("wake_node", "and not is_halted(found)", ""),
    "a rung timer stays": Mistake("wake_node", "redis.call('ZREM', timers, run_id .. '/' .. node)\n", ""),
    "a woken node is among the retrying": Mistake("wake_node", "redis.call('SREM', retrying, node)\n", ""),
    "a retrying node can be claimed": Mistake("claim_node", "record[STATE] == 'retrying' or record", "record"),
    "a retrying node can be settled": Mistake(
        "settle_node", "if record[STATE] ~= 'running' then return {'stale'} end\n", ""
    ),
    "a later signal replaces the first": Mistake("signal_node", "if known then return {'taken', known[2]} end", ""),
    "a signal that is repeated counts twice": Mistake(
        "signal_node", "if known and known[1] == id then", "if false then"
    ),
    "a signal leaves what is parked asleep": Mistake(
        "signal_node", "if is_parked or is_claimed then make", "if is_claimed then make"
    ),
    "a signal is not seen by who runs the node": Mistake(
        "signal_node", "if is_parked or is_claimed then make", "if is_parked then make"
    ),
    "a signal uses up an attempt": Mistake("signal_node", "record[ATTEMPT] = record[ATTEMPT] - 1", ""),
    "a signal leaves the timer": Mistake("signal_node", "redis.call('ZREM', timers, run_id .. '/' .. node)", ""),
    "a signalled node is among the retrying": Mistake("signal_node", "redis.call('SREM', retrying, node)", ""),
    "an ended run takes a signal": Mistake("signal_node", "OPEN[values[1]] and not", "not"),
    "an ended node takes a signal": Mistake("signal_node", "not (record and has_ended(record))", "true"),
    "a signal says nothing": Mistake("signal_node", "change('payload:' .. node, ARGV[6])", ""),
    "an old signal counts again": Mistake("reset_nodes", "    gone[#gone + 1] = 'signal:' .. node", ""),
    "a node goes on as another": Mistake("reset_nodes", ", record[RETRIES] or 0 end", ", 0 end"),
    "a copy that waits forgets what follows": Mistake(
        "reset_nodes", "fresh[PAST], fresh[NEXT] = fresh[PAST] or 0, follows", ""
    ),
    "an early signal is forgotten with a reset": Mistake(
        "reset_nodes",
        "if record and (record[STATE] == 'succeeded' or record[STATE] == 'failed') then",
        "if record then",
    ),
    "a re-drive does not set the timer again": Mistake(
        "redrive_node", "  redis.call('ZADD', timers, due_at, member)\n", ""
    ),
    "a paused run starts nodes": Mistake("claim_node", "return {'paused'}", ""),
    "a halted run stays paused": Mistake("claim_node", "values[4] and not values[HALT]", "values[4]"),
    "a node of a paused run is published again": Mistake("redrive_node", "if is_paused or (", "if ("),
    "a halted run can be paused": Mistake("pause_run", "return {'ending'}", ""),
    "cancelling leaves a run paused": Mistake("halt_run", "if paused then redis.call('HDEL', run, 'paused') end\n", ""),
    "a resumed run stays paused": Mistake("resume_run", "redis.call('HDEL', run, 'paused')\nremember", "remember"),
    "a run is terminated twice": Mistake(
        "terminate_run", "if values[1] == TERMINATED then", "OPEN[TERMINATED] = true\nif false then"
    ),
    "an ended run is terminated": Mistake("terminate_run", "return {'ended', values[1]}", ""),
    "a terminated run stays paused": Mistake(
        "terminate_run", "redis.call('HDEL', run, 'paused')\nredis.call('UNLINK'", "redis.call('UNLINK'"
    ),
    "a terminated run takes a retry": Mistake("retry_node", " or found.status == TERMINATED", ""),
    "a terminated run starts nodes": Mistake("claim_node", "if values[3] == TERMINATED", "if false"),
    "the keeper looks after a terminated run": Mistake("redrive_node", " or is_void", ""),
    "a node that is marked is made ready": Mistake(
        "settle_node", "past[STATE] ~= 'waiting' then return false", "false then"
    ),
    "a node is marked twice": Mistake("mark_node", "if record and has_ended(record) then", "if false then"),
    "a mark is not counted": Mistake("mark_node", "ended + 1, found", "ended, found"),
    "a mark lets an attempt go on": Mistake(
        "mark_node", "fresh_record(state, record, now)", "fresh_record(state, nil, now)"
    ),
    "a mark does not say that the run is altered": Mistake("mark_node", "change('altered', 1)\n", ""),
    "a mark ends what is being prepared": Mistake("mark_node", "return {'preparing', paused[1], 0}", ""),
    "a marked node stays in the outbox": Mistake(
        "mark_node", "if marked[SPREAD] == SPREAD_DONE then\n  redis", "if false then\n  redis"
    ),
    "an open run is reopened": Mistake("reopen_run", "if OPEN[status] then", "if false then"),
    "a reopened run expires": Mistake("reopen_run", "redis.call('PERSIST', run)\n", ""),
    "a reopened run is not counted": Mistake(
        "reopen_run", "redis.call('HINCRBY', flow, 'open_runs', 1)", "redis.call('HINCRBY', flow, 'open_runs', 0)"
    ),
    "a reopened run is still halted": Mistake("reopen_run", "'halt', 'halted_by'", "'halted_by'"),
    "a reopened run remembers its failure": Mistake("reopen_run", "'halted_by', 'failed_node'", "'halted_by'"),
    "a reset is not counted": Mistake("reset_nodes", "tonumber(values[3]) + reopened", "tonumber(values[3])"),
    "a reset keeps the token": Mistake("reset_nodes", "past[TOKEN] + 1", "past[TOKEN]"),
    "a reset forgets the attempts": Mistake("reset_nodes", "past[ATTEMPT], past[TOKEN]", "0, past[TOKEN]"),
    "a reset node counts what does not count": Mistake("reset_nodes", "if count == 0 then", "if false then"),
    "a slice of somebody who is late resets": Mistake("reset_nodes", "or not paused or paused[1] ~= ARGV[3]", ""),
    "another fork is taken for the same": Mistake("fork_run", "if known[1] ~= ARGV[3] then", "if false then"),
    "a fork is not among the open runs": Mistake("fork_run", "redis.call('ZADD', open, now, run_id)\n", ""),
    "a fork is not counted": Mistake("fork_run", "'open_runs', 1)", "'open_runs', 0)"),
    "a fork that is there is stored again": Mistake("fork_run", "\nif known[1] then", "\nif false then"),
    "a fork forgets its deadline": Mistake(
        "fork_run", "  put_due(KEYS[4], run_id .. '/' .. RUN_DEADLINE, deadline)\n", ""
    ),
    "what is inherited is not counted": Mistake("inherit_nodes", "    remaining = remaining - 1\n", ""),
    "what runs is inherited": Mistake("inherit_nodes", "'node:' .. node) == 0 then", "'node:' .. node) >= 0 then"),
    "what is inherited is to be told": Mistake("inherit_nodes", "SPREAD_DONE, INHERITED}", "0, INHERITED}"),
    "a node that waits can be claimed": Mistake(
        "claim_node", " or record[STATE] == 'waiting' then return {'early'}", " then return {'early'}"
    ),
    "a run with nothing left is resumed": Mistake("resume_run", "tonumber(values[4]) == 0", "false"),
    "a cancelled run is not among the halted": Mistake("halt_run", "  put_due(halted, run_id, now)\n", ""),
    "a failed run is not among the halted": Mistake(
        "settle_node", "then put_due(KEYS[#KEYS], run_id, now) end", "then end"
    ),
    "a run that ends at once is among the halted": Mistake(
        "settle_node", " and tonumber(found.remaining) > ended + 1", ""
    ),
    "a cancelled run is not undone": Mistake("halt_run", "redis.call('HSETNX', run, 'compensation', 0)", ""),
    "what was only started is undone": Mistake("spread_node", "undone[STATE] == 'succeeded'", "undone[STATE]"),
    "an undo does not wait for all before it": Mistake("spread_node", "== needed * found.compensation", "> 0"),
    "a failed undo is forgotten": Mistake("settle_node", "state == 'succeeded' and 'done' or 'failed'", "'done'"),
    "what was undone is undone again": Mistake("spread_node", "if known and lets_pass(known) then", "if false then"),
    "an undo is cancelled with its run": Mistake(
        "claim_node", "values[5], values[HALT] = false, false", "values[5] = false"
    ),
    "undoing that is begun again is counted as before": Mistake(
        "compensate_run", "(found.compensation or 0) + 1", "(found.compensation or 1)"
    ),
    "a run that is undone again still expires": Mistake("compensate_run", "redis.call('PERSIST', run)\n", ""),
    "an ended run can be halted": Mistake("halt_run", "if status ~= 'running' then", "if false then"),
    "a later halt replaces the first": Mistake("halt_run", "if not values[3] then", "if true then"),
    "a terminated run takes an end": Mistake("settle_node", " or found.status == TERMINATED", ""),
    "a terminated run wakes nodes": Mistake("wake_node", "not record or found.status == TERMINATED", "not record"),
    "a terminated run goes on telling": Mistake("spread_node", " or is_void", ""),
    "a terminated run takes a node back": Mistake("release_node", "values[3] ~= TERMINATED and ", ""),
    "a reset is counted again": Mistake("reset_nodes", "(record and record[TOKEN] or 0) == wishes[at + 2]", "true"),
    "a failed run is not undone": Mistake("settle_node", "set(found, 'compensation', 0)", ""),
    "an undo runs though one before it has failed": Mistake("settle_node", "return cause end\n", "return '' end\n"),
}

MISTAKES_OF_RULES = {
    "a condition reads anew at each claim": Mistake("claim_node", " and not values[FIELDS + BEFORE_FIELDS]", ""),
    "a rule counts failures as skips": Mistake("settle_node", "upstream_failed = FAILED", "upstream_failed = SKIPPED"),
    "a rule that cannot be met any more waits": Mistake("settle_node", "or failed + left < least_failed", ""),
    "a rule begins before all have ended": Mistake("settle_node", "(not waits or left == 0)", "true"),
    "a rule waits for skips that cannot come any more": Mistake("settle_node", "or skipped + left < least_skipped", ""),
    "a rule waits for ends that cannot come any more": Mistake("settle_node", "or ran + left < least_ran", ""),
    "a rule bears any skips": Mistake("settle_node", "or skipped > most_skipped", ""),
    "a rule bears any failures": Mistake("settle_node", "failed > most_failed or", ""),
    "a rule forgets why it cannot be met": Mistake(
        "settle_node", "return asks and failed > 0 and 'upstream_failed' or 'skipped'", "return 'skipped'"
    ),
    "a node that began early begins again": Mistake("settle_node", "(altered or may_have_begun)", "altered"),
    "a handled failure fails its run": Mistake("settle_node", "and not is_handled", ""),
    "what follows from a handled failure does not fail its run": Mistake(
        "settle_node", "set(found, 'failed_node', node)\n      end", "end"
    ),
    "what follows from a failure fails the run though it is handled": Mistake(
        "settle_node", " and not (rule and rule[1] == 1)", ""
    ),
    "an expression does not hear of the end that is told": Mistake("settle_node", "  groups[teller] = group\n", ""),
    "an expression reads and as or": Mistake("settle_node", "node == AND and", "node == OR and"),
    "a node that was not to run has used up an attempt": Mistake(
        "settle_node", "record[ATTEMPT] - 1, 0", "record[ATTEMPT], 0"
    ),
}
"""To be found where nodes have rules and expressions."""

MISTAKES_OF_FAMILY = {
    "a node goes on with the news of before": Mistake(
        "reset_nodes", "if is_continued then gone[#gone + 1] = 'child:' .. node end\n", ""
    ),
    "the end of a child leaves nothing to tell": Mistake(
        "settle_node", "if is_child then\n    save", "if false then\n    save"
    ),
    "the settler of a child does not hear that a parent is to be told": Mistake(
        "settle_node", "if is_child then skipped", "if false then skipped"
    ),
    "every run has a parent": Mistake("settle_node", "redis.call('HEXISTS', run, 'parent') == 1", "true"),
    "a repeated end of a child forgets the parent": Mistake(
        "settle_node", "not OPEN[status] then look_at", "false then look_at"
    ),
    "a child that is terminated leaves nothing to tell": Mistake(
        "terminate_run", "if is_child then\n    save", "if false then\n    save"
    ),
    "a child that is terminated cannot tell it": Mistake("spread_node", "and tonumber(node) ~= TO_PARENT", ""),
    "a child that is terminated is not claimed to tell it": Mistake(
        "claim_node", " and tonumber(node) ~= TO_PARENT", ""
    ),
    "a child that is terminated is not looked after": Mistake("redrive_node", "and tonumber(node) ~= TO_PARENT", ""),
    "a child that ends with a resume leaves nothing to tell": Mistake(
        "resume_run", "if is_child then\n    save", "if false then\n    save"
    ),
    "the children of a terminated run are not looked for": Mistake(
        "terminate_run", "put_due(KEYS[6], run_id, now)\n", ""
    ),
    "nobody looks whether a child is an orphan": Mistake(
        "admit_run", "if ARGV[15] ~= '' then put_due", "if false then put_due"
    ),
    "a child that has told its end is looked at": Mistake(
        "spread_node", "redis.call('ZREM', KEYS[#KEYS], run_id)", "local _"
    ),
    "nobody looks whether the undoing of a child has an orphan": Mistake(
        "compensate_run", "if looked_at then put_due(KEYS[6], run_id, looked_at) end\n", ""
    ),
    "a child that is undone already is not looked at for its parent": Mistake(
        "compensate_run", "if looked_at then redis.call('ZADD', KEYS[6], looked_at, run_id) end\n", ""
    ),
    "early news is lost": Mistake(
        "retry_node", "local is_told = has_heard(run, node, ARGV[11])", "local is_told = false"
    ),
    "the news of another child is taken": Mistake(
        "retry_node", "string.sub(heard, 1, #ticket + 1) == ticket .. ' '", "true"
    ),
    "who waits in a paused run does not hear of it": Mistake("retry_node", "is_paused and 'paused' or", ""),
    "another child wakes a node": Mistake("tell_parent", "record[CAUSE] ~= 'run:' .. ticket", "false"),
    "news takes a node from who runs it": Mistake(
        "tell_parent", "local waits = record[STATE] == 'retrying'", "local waits = true"
    ),
    "news does not wake a node": Mistake(
        "tell_parent", "if waits then make_ready_again", "if false then make_ready_again"
    ),
    "news is not kept": Mistake("tell_parent", "change('child:' .. node, ARGV[5])", ""),
    "a node that has heard keeps its timer": Mistake(
        "tell_parent", "redis.call('ZREM', timers, run_id .. '/' .. node)", ""
    ),
    "a node that has heard still counts as waiting": Mistake("tell_parent", "redis.call('SREM', retrying, node)", ""),
    "news comes to an ended run": Mistake("tell_parent", "not OPEN[found.status] or ", ""),
    "a person undoes what has succeeded": Mistake("compensate_run", "parent ~= '' and found.status", "found.status"),
    "a parent undoes a child again and again": Mistake("compensate_run", "or is_answered", ""),
    "a child does not know who has it undone": Mistake(
        "compensate_run", "if parent ~= '' then change('parent', parent) end", ""
    ),
}
"""To be found in runs that begin others, and in those that are begun."""


MISTAKES_OF_HOOKS = {
    "a hook runs after every end": Mistake("settle_node", "if each == state then", "if true then"),
    "a hook never runs": Mistake("settle_node", "if each == state then", "if false then"),
    "the failure of a hook fails its run": Mistake("settle_node", "and not is_handled", ""),
    "a run ends without the hooks of its flow": Mistake("settle_node", "if found.hooks > 0 then", "if false then"),
    "the hooks of a flow begin with its last node but one": Mistake(
        "settle_node", "remaining > found.hooks then", "remaining > found.hooks + 1 then"
    ),
    "the hooks of a flow are told for ever": Mistake("settle_node", "outdated[#outdated + 1] = 'hooks'\n", ""),
    "nobody would ever tell the hooks of a flow": Mistake(
        "settle_node", "put_due(outbox, run_id .. '/' .. BEFORE_HOOKS, now)\n", ""
    ),
    "a repeated end does not say that the hooks are to be told": Mistake(
        "settle_node", "'node:' .. BEFORE_HOOKS) == 1", "'node:' .. BEFORE_HOOKS) > 1"
    ),
    "the hooks of a flow hear that all went well": Mistake(
        "spread_node", "and keep_end(run, found) or record[STATE]", "and 'succeeded' or record[STATE]"
    ),
    "the hooks of a flow are not told who failed": Mistake("spread_node", "failed_node or false", "false"),
    "the hooks of a flow are not told why": Mistake(
        "spread_node", "failed_node and redis.call('HGET', run, 'error:' .. failed_node) or ''", "''"
    ),
    "a run that is admitted has no hooks": Mistake("admit_run", "for at = 16, #ARGV, 2 do", "for at = 16, 17, 2 do"),
    "a fork has no hooks": Mistake("fork_run", "for at = 17, #ARGV, 2 do", "for at = 17, 18, 2 do"),
    "a hook that waits is ended by hand": Mistake("mark_node", "return {'early'}", ""),
    "the hooks of a reopened run do not wait": Mistake("reset_nodes", "change('hooks', hooks)\n", ""),
    "a reopened run keeps the end of before": Mistake("reset_nodes", "'output:', 'error:'}", "'output:'}"),
    "a reset leaves the hooks in the outbox": Mistake(
        "reset_nodes", "forgotten[#forgotten + 1] = {'ZREM', outbox, run_id .. '/' .. BEFORE_HOOKS}\n", ""
    ),
    "a run of which only hooks are left does not go on": Mistake("resume_run", "values[4] == values[6]", "false"),
}
"""To be found where nodes and flows have hooks."""


class MistakenScripts(Scripts):
    """The scripts, one of them with a mistake."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__()
        right = self[mistake.script].source
        assert right.count(mistake.old) == 1, f"{mistake.script} has no such text any more: {mistake.old}"
        self._scripts[mistake.script] = Script(mistake.script, right.replace(mistake.old, mistake.new))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(link: Link, namespace: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _find(MISTAKES[name], Tour(link, namespace), monkeypatch, SITUATIONS)


@pytest.mark.parametrize("name", MISTAKES_OF_RULES)
def test_a_mistake_of_rules_is_found(link: Link, namespace: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _find(MISTAKES_OF_RULES[name], Tour(link, namespace), monkeypatch, RULED)


@pytest.mark.parametrize("name", MISTAKES_OF_FAMILY)
def test_a_mistake_of_family_is_found(link: Link, namespace: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _find(MISTAKES_OF_FAMILY[name], Tour(link, namespace), monkeypatch, FAMILY)


@pytest.mark.parametrize("name", MISTAKES_OF_HOOKS)
def test_a_mistake_of_hooks_is_found(link: Link, namespace: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _find(MISTAKES_OF_HOOKS[name], Tour(link, namespace), monkeypatch, HOOKED)


def _find(mistake: Mistake, tour: Tour, monkeypatch: pytest.MonkeyPatch, situations: Mapping[str, Situation]) -> None:
    scripts = MistakenScripts(mistake)
    monkeypatch.setattr("taskmesh.store.store.Scripts", lambda: scripts)
    monkeypatch.setattr("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", SLICE)
    with pytest.raises(AssertionError):
        tour.make_calls_of(mistake.script, situations=situations)
