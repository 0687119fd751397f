"""Which nodes of a run that goes on after its end must run again, and what they wait for. Pure: from what is stored."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from taskmesh.dispatch.plan import BEFORE_FIRST, BEFORE_HOOKS, Plan
from taskmesh.model.fates import decide
from taskmesh.model.states import NodeState
from taskmesh.store.preparations import Reset
from taskmesh.store.records import NodeRecord

TOLD_ALL = -1
NOT_COUNTED = -1

Records = Mapping[int, NodeRecord]


def descendants(plan: Plan, origins: Iterable[int]) -> set[int]:
    """The nodes themselves, and all that depend on them."""
    found: set[int] = set()
    waiting = list(origins)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(plan.graph.successors[node])
    return found


def half_told(plan: Plan, records: Records) -> list[int]:
    """Nodes that have ended and whose dependents do not all know: what those have counted is not settled yet."""
    places = range(BEFORE_FIRST, len(plan.flow.nodes))
    return [at for at, each in records.items() if at in places and each.state.ended and each.spread != TOLD_ALL]


CONTINUED = "continued"
"""As what is wanted of a node: it is ready, and goes on with the child run that it has begun."""


def resets(
    plan: Plan,
    records: Records,
    arrived: Mapping[int, int],
    origin: int | None,
    skipped: Mapping[int, int],
    continued: Container[int] = (),
) -> list[Reset]:
    """What must be reset so that ``origin``, what has not come to a good end, and all that depends on it run again.

    ``arrived`` and ``skipped`` are what is counted now. The nodes that may be ``continued`` go on with the child runs
    that they have begun, unless something before them runs again: these would be others then. Done with what this
    answers, again and again, it ends with nothing.
    """
    kept = _kept(plan, records, origin)
    wanted = [_reset(plan, records, kept, at, at in continued) for at in range(len(plan.flow.nodes))]
    needed = [each for each in wanted if each is not None and _is_needed(each, arrived, skipped)]
    return needed + _reset_of_hooks(plan, records)


def _reset_of_hooks(plan: Plan, records: Records) -> list[Reset]:
    """Lets the hooks of the flow wait again for the end of all else, once they have been reset themselves."""
    told = records.get(BEFORE_HOOKS)
    if told is None:
        return []
    count = len(plan.graph.hooks)
    return [Reset(BEFORE_HOOKS, str(told.state), told.token, str(NodeState.WAITING), count, NOT_COUNTED, pool=0)]


def _kept(plan: Plan, records: Records, origin: int | None) -> dict[int, NodeState]:
    """The nodes that stay as they are, with their ends: what runs again cannot change those."""
    kept: dict[int, NodeState] = {}
    again = descendants(plan, () if origin is None else (origin,))
    for at in range(len(plan.flow.nodes)):
        state = _end_of(plan, records, kept, at, at in again)
        if state is not None and at != origin:
            kept[at] = state
    return kept


def _end_of(plan: Plan, records: Records, kept: Mapping[int, NodeState], at: int, is_wanted: bool) -> NodeState | None:
    """The end that a node keeps; None for one that runs again, or waits again for others that do.

    What was marked as succeeded by hand stays so, whatever it needs, unless somebody wants it again. Hooks of the flow
    run again each time that the run ends.
    """
    if plan.flow.nodes[at].is_flow_hook:
        return None
    record = records.get(at)
    state, is_by_hand = (record.state, record.is_by_hand) if record else (None, False)
    if record and state is NodeState.SUCCEEDED and (is_by_hand or record.is_inherited) and not is_wanted:
        return state
    if all(parent in kept for parent in plan.graph.parents[at]) and (
        state is NodeState.SUCCEEDED or (state is NodeState.SKIPPED and not is_by_hand)
    ):
        return state
    # Whatever those become that run again, it is certain already that this one does not run.
    if state in _LEFT_OUT and _fate(plan, kept, at) is NodeState.SKIPPED:
        return NodeState.SUCCEEDED if state is NodeState.SUCCEEDED else NodeState.SKIPPED
    return None


_LEFT_OUT = (None, NodeState.SUCCEEDED, NodeState.SKIPPED, NodeState.UPSTREAM_FAILED)
"""What a node may be that its rule does not let run: in a fork nothing yet, by hand it may have succeeded."""


def _fate(plan: Plan, kept: Mapping[int, NodeState], at: int) -> NodeState | None:
    names = plan.graph.names
    return decide(plan.flow.nodes[at], {names[each]: kept[each] for each in plan.graph.parents[at] if each in kept})


def _reset(plan: Plan, records: Records, kept: Mapping[int, NodeState], node: int, can_go_on: bool) -> Reset | None:
    record, parents = records.get(node), plan.graph.parents[node]
    if node in kept:
        if record is not None and record.state is not NodeState.UPSTREAM_FAILED:
            return None
        wanted: str = NodeState.SKIPPED
    elif plan.flow.nodes[node].is_flow_hook:
        wanted = NodeState.WAITING
    elif can_go_on and all(parent in kept for parent in parents):
        wanted = CONTINUED
    elif all(parent in kept for parent in parents) or _fate(plan, kept, node) is NodeState.READY:
        wanted = NodeState.READY
    else:
        wanted = NodeState.WAITING
    ends = [kept[parent] for parent in parents if parent in kept]
    trigger = plan.flow.nodes[node].trigger
    counts_all = not trigger.is_plain and not trigger.depends and not trigger.hook
    counts = counts_all or (trigger.is_plain and len(parents) > 1)
    return Reset(
        node=node,
        state=str(record.state) if record else "",
        token=record.token if record else 0,
        wanted=str(wanted),
        arrived=ends.count(NodeState.SUCCEEDED) if counts else NOT_COUNTED,
        skipped=len(ends) - ends.count(NodeState.SUCCEEDED) if counts_all else NOT_COUNTED,
        pool=plan.pool_number(node),
    )


def _is_needed(reset: Reset, arrived: Mapping[int, int], skipped: Mapping[int, int]) -> bool:
    if reset.arrived not in (NOT_COUNTED, arrived.get(reset.node, 0)):
        return True
    if reset.skipped not in (NOT_COUNTED, skipped.get(reset.node, 0)):
        return True
    return reset.state != reset.wanted and (reset.state, reset.wanted) not in _ALIKE


_ALIKE = (("", "waiting"), ("ready", CONTINUED))
