"""Why a node did not run: the words for what is stored of it."""

from __future__ import annotations

from collections.abc import Mapping

from taskmesh.dispatch.gates import BRANCH, CONDITION, Facts, evaluated
from taskmesh.dispatch.plan import Plan
from taskmesh.model.hooks import Hook
from taskmesh.model.states import NodeState
from taskmesh.store.records import RunRecord
from taskmesh.wire import unpack

MAX_NEEDS = 5

NEEDS = "needs:"
"""How the cause of a node begins that one which it needs has told that it cannot run."""


def why_not_run(record: RunRecord, plan: Plan, place: int) -> str:
    """Why a node that was skipped, or could not run, did not; empty for any other."""
    stored = record.nodes[place]
    if stored.state not in (NodeState.SKIPPED, NodeState.UPSTREAM_FAILED):
        return ""
    return stored.cause if stored.is_by_hand else why_left_out(plan, place, stored.cause, facts_of(record))


def facts_of(record: RunRecord) -> Facts:
    """What conditions are evaluated with, as it is stored."""
    states = {at: each.state for at, each in record.nodes.items()}
    return Facts(record.params, record.outputs, states, record.context, record.seen)


def why_left_out(plan: Plan, place: int, cause: str, facts: Facts) -> str:
    """Why the node or the undo at a place was skipped, or could not run, as a sentence without its subject."""
    if cause == CONDITION:
        return f"its condition is false: {'; '.join(map(str, evaluated(plan.graph, place, facts)))}"
    if cause == BRANCH:
        return _of_branch(plan, place, facts)
    if plan.flow.copies and not plan.is_undo(place):
        return "it had not begun when its run was halted"
    node = plan.node(place)
    if node.hook:
        return _of_hook(plan, place, node.hook, facts)
    if node.trigger.is_plain and cause.startswith(NEEDS):
        teller = int(cause.removeprefix(NEEDS))
        return f"node {plan.name_of(teller)!r}, which it needs, {_DID.get(facts.states.get(teller), 'did not succeed')}"
    if plan.is_undo(place) or node.trigger.is_plain:
        return "nodes that it needs did not run"
    return f"it cannot begin any more by {node.trigger}: {_needs(plan, place, facts.states)}"


_DID: Mapping[NodeState | None, str] = {
    NodeState.FAILED: "has failed",
    NodeState.UPSTREAM_FAILED: "could not run for a failure",
    NodeState.SKIPPED: "was skipped",
    NodeState.CANCELLED: "was cancelled",
}


def _of_hook(plan: Plan, place: int, hook: Hook, facts: Facts) -> str:
    """Of the flow's own, what is said is in order as soon as the run has ended."""
    observed = next(iter(plan.graph.parents[place]), None)
    if observed is None:
        return f"the run did not end as {hook} asks"
    did = _DID.get(facts.states.get(observed), "has succeeded")
    return f"node {plan.name_of(observed)!r}, which it observes, {did}"


def _of_branch(plan: Plan, place: int, facts: Facts) -> str:
    switch = plan.graph.switch_to(place)
    if switch is None:
        return "a switch went another way"
    output = facts.outputs.get(switch)
    way = f" to {unpack(output)!r}" if output is not None else ""
    return f"switch {plan.name_of(switch)!r} went another way{way}"


def _needs(plan: Plan, place: int, states: Mapping[int, NodeState]) -> str:
    parents = plan.graph.parents[place]
    named = [f"{plan.name_of(each)} ({states.get(each, NodeState.WAITING)})" for each in parents[:MAX_NEEDS]]
    more = f" and {len(parents) - MAX_NEEDS} more" if len(parents) > MAX_NEEDS else ""
    return ", ".join(named) + more
