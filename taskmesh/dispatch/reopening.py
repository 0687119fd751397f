"""Which nodes of a run that goes on after its end must run again, and what they wait for. Pure: from what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from taskmesh.dispatch.plan import BEFORE_FIRST, Plan
from taskmesh.model.states import NodeState
from taskmesh.store.calls import Reset
from taskmesh.store.reader import NodeRecord

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


def resets(plan: Plan, records: Records, arrived: Mapping[int, int], origin: int | None) -> list[Reset]:
    """What must still be reset so that ``origin``, all that depends on it and all that has not succeeded run again.

    Done with what this answers, again and again, it ends with nothing.
    """
    again = descendants(plan, () if origin is None else (origin,))
    again.update(at for at in range(len(plan.flow.nodes)) if not _has_succeeded(records, at))
    wanted = (_reset(plan, records, again, at) for at in sorted(again))
    return [each for each in wanted if _is_needed(each, arrived)]


def _reset(plan: Plan, records: Records, again: set[int], node: int) -> Reset:
    parents = plan.graph.parents[node]
    kept = sum(parent not in again for parent in parents)
    record = records.get(node)
    return Reset(
        node=node,
        state=str(record.state) if record else "",
        token=record.token if record else 0,
        wanted="ready" if kept == len(parents) else "waiting",
        arrived=kept if len(parents) > 1 else NOT_COUNTED,
        pool=plan.pool_number(node),
    )


def _is_needed(reset: Reset, arrived: Mapping[int, int]) -> bool:
    if reset.arrived not in (NOT_COUNTED, arrived.get(reset.node, 0)):
        return True
    return reset.state != reset.wanted and (reset.state, reset.wanted) != ("", "waiting")


def _has_succeeded(records: Records, node: int) -> bool:
    record = records.get(node)
    return record is not None and record.state is NodeState.SUCCEEDED
