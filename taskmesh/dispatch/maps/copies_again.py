"""Which copies run again in a run that goes on after its end, and in which order where only so many may run at once.

Pure: from what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Copies
from taskmesh.model.states import NodeState
from taskmesh.store.preparations import Reset
from taskmesh.store.records import NodeRecord

NOT_COUNTED = -1
NEIGHBOUR = -1


class CopyResets(NamedTuple):
    """What is left to reset, and the fields of the run that are to be set with it, names and values by turns."""

    wishes: list[Reset]
    further: tuple[str | int, ...]


def copy_resets(plan: Plan, records: Mapping[int, NodeRecord], origin: int | None, is_alone: bool) -> CopyResets:
    """What must be reset so that the copy at ``origin``, and what has not succeeded, runs again.

    Where it is alone, copies that have failed, or were skipped by hand, stay so. Done with what this answers, again and
    again, it ends with nothing.
    """
    copies = plan.flow.copies
    assert copies is not None
    again = [at for at in range(copies.total) if at == origin or not _stays(records.get(at), is_alone)]
    most = copies.most_at_once or copies.total
    begins, waits = again[:most], again[most:]
    wishes = [_reset(plan, at, records.get(at), NodeState.READY) for at in begins if not _is_ready(records.get(at))]
    wishes += _waiting(plan, records, waits)
    failed = [at for at, each in records.items() if is_alone and at not in again and each.state is NodeState.FAILED]
    further = (*_begun(copies, waits), *(("failed_node", min(failed)) if failed else ()))
    return CopyResets(wishes, (*further, *(("failures", len(failed)) if plan.tolerated is not None else ())))


def _stays(record: NodeRecord | None, is_alone: bool) -> bool:
    if record is None:
        return False
    is_kept = record.state is NodeState.FAILED or (record.state is NodeState.SKIPPED and record.is_by_hand)
    return record.state is NodeState.SUCCEEDED or (is_alone and is_kept)


def _is_ready(record: NodeRecord | None) -> bool:
    return record is not None and record.state is NodeState.READY


def _waiting(plan: Plan, records: Mapping[int, NodeRecord], places: Sequence[int]) -> Iterator[Reset]:
    """Those that wait, one after the other: each says what follows it, unless that is its neighbour."""
    for at, following in pairwise([*places, len(plan.flow.nodes)]):
        record = records.get(at)
        follows = NEIGHBOUR if following == at + 1 else following
        is_so = record is None or (record.state is NodeState.WAITING and record.let_begin in (None, following))
        if not is_so or (follows != NEIGHBOUR and (record is None or record.let_begin is None)):
            yield _reset(plan, at, record, NodeState.WAITING, follows)


def _begun(copies: Copies, waits: Sequence[int]) -> tuple[str | int, ...]:
    return ("begun", waits[0] if waits else copies.total) if copies.most_at_once else ()


def _reset(plan: Plan, at: int, record: NodeRecord | None, wanted: NodeState, follows: int = NEIGHBOUR) -> Reset:
    state, token = (str(record.state), record.token) if record else ("", 0)
    return Reset(at, state, token, str(wanted), NOT_COUNTED, NOT_COUNTED, plan.pool_number(at), follows)
