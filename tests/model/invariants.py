"""What must hold whatever happened, told from the store alone."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from taskmesh.dispatch.plan import Plan
from taskmesh.model.next_event import NodeFacts, next_event
from taskmesh.model.states import RUN_TRANSITIONS, NodeState, RunState
from tests.model.lab import Lab
from tests.model.reference import ENDED
from tests.model.shape import BEFORE_HOOKS, BEFORE_UNDOS, ROOT, Shape
from tests.model.steering import INHERITED

TOLD_ALL = -1


def check_history(before: Mapping[str, Any], now: Mapping[str, Any], undo_base: int) -> None:
    """One commit: an end state, its output and its error never change, and no token ever falls.

    Only an undo that failed, or was kept from running by one that did, may be tried again, with a higher token.
    """
    told = {at: node for at, node in before.get("nodes", {}).items() if at != BEFORE_HOOKS}
    for at, (state, attempt, token, holder, *_) in told.items():
        assert now["nodes"][at][2] >= token, f"the token of node {at} fell"
        assert now["nodes"][at][1] >= attempt - 1 or at >= undo_base, f"attempts of node {at} are gone"
        again = now["altered"] if at < undo_base else state != "succeeded"
        if state in ENDED and not (again and now["nodes"][at][2] > token):
            assert now["nodes"][at][:4] == (state, attempt, token, holder), f"node {at} ended twice"
            for kind in ("outputs", "errors"):
                assert now[kind].get(at) == before[kind].get(at), f"the {kind} of node {at} changed"
    if before:
        assert now["status"] in _reachable(before["status"]), f"a run that was {before['status']} is {now['status']}"
    if before.get("expires") and before["compensation"] == now["compensation"] and not now["altered"]:
        assert now["status"] == before["status"], "the run ended twice"


def _reachable(status: str) -> set[str]:
    """What a run may be after some steps."""
    found, rest = set[str](), [RunState(status)]
    while rest:
        state = rest.pop()
        found.add(state)
        rest += [each for each in RUN_TRANSITIONS[state] if each not in found]
    return found


def check_kept(run: Mapping[str, Any], outbox: set[int]) -> None:
    """Never stuck: whatever somebody must still do something for is where the keeper finds it."""
    if run["status"] == "terminated":
        return
    for at, (state, _, _, _, spread, *_) in run["nodes"].items():
        done = state == "waiting" or (state in ENDED and spread == TOLD_ALL)
        assert done or at in outbox, f"nobody would ever look after node {at}"


def check_next_events(
    shape: Shape, states: Mapping[int, str], due: set[int], timers: Container[int], paused: str = ""
) -> None:
    """Never stuck: each node that has not ended waits for something that comes. To be held for runs that go on.

    A node whose end not all dependents know of is still due; so those that wait for it do not wait in vain. While a run
    is being prepared, that it is resumed is what brings on hooks of the flow.
    """
    for at in shape.places if BEFORE_UNDOS in states else range(shape.undo_base):
        needed = shape.before(at) or ((ROOT,) if ROOT in states else ())
        if shape.bound:
            # What comes next is brought by the end of what has begun.
            needed = tuple(each for each in shape.places if each in states)
        facts = NodeFacts(
            state=NodeState(states.get(at, "waiting")),
            is_due=at in due,
            timer_at=0.0 if at in timers else None,
            is_held=paused not in ("", "user") and at in shape.flow_hooks,
            needs=tuple(
                str(each) for each in needed if each in due or (each != BEFORE_HOOKS and states.get(each) not in ENDED)
            ),
        )
        assert facts.state.ended or next_event(facts, 0.0), f"nothing would bring node {at} on"


def check_quiet(lab: Lab, plans: Mapping[str, Plan]) -> None:
    """Nothing left over: every run has ended, nothing is due, nothing is counted, all of it will expire."""
    stored = lab.read(plans)
    assert stored.outboxes == set()
    assert stored.timers == {}
    assert (stored.open_runs, stored.closed_runs) == (set(), set(plans))
    for run_id, run in stored.runs.items():
        assert run["remaining"] == 0 or run["status"] == "terminated"
        assert run["expires"]
        assert run["status"] not in ("running", "compensating")
        check_undone(run, plans[run_id])
        assert stored.retrying[run_id] == set()
        assert stored.users[run_id] == (0, True)


def check_undone(run: Mapping[str, Any], plan: Plan) -> None:
    """Exactly what was committed and can be undone was undone where the run says so, and nothing where it does not."""
    states = {at: record[0] for at, record in run["nodes"].items()}
    own = {at for at, record in run["nodes"].items() if record[0] == "succeeded" and INHERITED not in record}
    committed = {at for at, node in enumerate(plan.flow.nodes) if node.compensation} & own
    undone = {at - len(plan.flow.nodes) for at, state in states.items() if plan.is_undo(at) and state == "succeeded"}
    is_cut_off = run["status"] == "terminated"
    assert undone <= committed
    # One that is terminated may have undone all by then, without having told that to its end.
    assert (undone == committed != set()) == (run["status"] == "compensated") or not committed or is_cut_off
    assert run["status"] in ("compensated", "compensation_failed", "terminated") or not undone
    for at in undone:
        later = [child for child in plan.graph.successors[at] if child in committed]
        assert undone >= set(later), f"node {at} was undone before what depended on it"
