"""Child runs that nobody waits for any more, though they were to end with their parents.

Most are ended by whoever ends the parent, or begins the child; but that one may die in between, and may begin it late,
from before a pause of its whole machine. A parent and its child may be in different partitions, so no script sees both.
So a child that ends with its parent stands among the ``children`` of its partition until it has told its end, and is
looked at from time to time. What makes it an orphan never changes back: its parent, or the node, has ended, or is gone;
or the node would begin another run by now.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.children.begun import child_of
from taskmesh.dispatch.children.closing import Closing
from taskmesh.dispatch.children.parents import read_parent
from taskmesh.dispatch.lookup import LookedUp, look_up
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import WireError
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.subflows import ChildStep
from taskmesh.store.family import Parent, ticket_of, undo_ticket
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.records import node_record
from taskmesh.store.store import Store

FIRST_LOOK_SECONDS = 10.0
"""Children that end sooner are never looked at."""

GONE = "its parent is not in the store any more"
FORGOTTEN = "its parent has gone on without it"
"""Why a child was ended."""

_log = logging.getLogger(__name__)


class _Child(NamedTuple):
    """A run that goes on, and whom it tells its end."""

    run_id: str
    parent: Parent


class _Above(NamedTuple):
    """What is stored of a parent; nothing where it is gone."""

    status: RunState | None
    is_undone: bool
    walk: int
    record: bytes | None


class Orphans:
    """Ends child runs that nobody waits for."""

    def __init__(self, store: Store, plans: Plans) -> None:
        self._reader = FamilyReader.of(store)
        self._closing = Closing(store)
        self._plans = plans

    def end(self, run_ids: Sequence[str]) -> dict[str, float]:
        """End those of some children, which end with their parents, that nobody waits for. Again is fine.

        Returns which of all of them had not ended before, each with when it was begun.

        :raises StoreUnavailableError: some may have been ended.
        """
        rows = self._reader.fields_of_runs(run_ids, ("status", "submitted_at", "parent")) if run_ids else []
        begun: dict[str, float] = {}
        children: list[_Child] = []
        for run_id, (status, submitted_at, packed) in zip(run_ids, rows, strict=True):
            parent = read_parent(run_id, packed)
            if status and submitted_at and parent and not RunState(status.decode()).ended:
                begun[run_id] = float(submitted_at)
                children.append(_Child(run_id, parent))
        for child, above in self._orphans(children):
            self._end(child, above)
        return begun

    def _orphans(self, children: Sequence[_Child]) -> list[tuple[_Child, _Above]]:
        keys = [child.parent.key for child in children]
        fields = [(key.run_id, ("status", "compensation", f"node:{key.node}")) for key in keys]
        aboves = [_above(*row) for row in self._reader.picked(fields)]
        nodes = look_up(self._reader, self._plans, keys)
        rows = zip(children, aboves, nodes, strict=True)
        return [(child, above) for child, above, node in rows if not self._may_be_wanted(child, above, node)]

    def _may_be_wanted(self, child: _Child, above: _Above, node: LookedUp) -> bool:
        """As ``_is_wanted``; what cannot be read stops nobody else, and somebody may mend it."""
        try:
            return self._is_wanted(child, above, node)
        except (WireError, TypeError, ValueError) as error:
            key = child.parent.key
            _log.error("node %d of run %s cannot be read: %s", key.node, key.run_id, error, extra={"run": key.run_id})
            return True

    def _is_wanted(self, child: _Child, above: _Above, node: LookedUp) -> bool:
        """Whether the node of its parent waits for a child, or may still come to that."""
        parent = child.parent
        if above.status is None or above.status.ended or above.record is None:
            return False
        record = node_record(above.record)
        if record.state.ended or record.state is NodeState.WAITING:
            return False
        if ticket := ticket_of(record.cause):
            return ticket == parent.ticket
        if node.plan is None:
            return True
        if node.plan.is_undo(parent.place):
            return parent.ticket == undo_ticket(child.run_id, above.walk)
        # Read only here, as the result of a child may be large: the node looks whether its child has ended.
        [heard] = self._reader.run_fields(parent.run_id, [f"child:{parent.place}"])
        return parent.ticket == child_of(node.plan, parent.key, record, heard)

    def _end(self, child: _Child, above: _Above) -> None:
        """As its parent ended."""
        parent = child.parent
        if above.status is RunState.TERMINATED:
            self._closing.terminate([child.run_id], parent.run_id)
        else:
            self._closing.stop([child.run_id], parent.run_id, _why(above), above.is_undone)


def look_seconds(plan: Plan, place: int) -> float | None:
    """How long after its begin the child of a node is looked at first; None where it does not end with its parent."""
    step = plan.node(place).step
    return FIRST_LOOK_SECONDS if isinstance(step, ChildStep) and step.ends_with_parent else None


def _above(status: bytes | None, compensation: bytes | None, record: bytes | None) -> _Above:
    stood = RunState(status.decode()) if status else None
    return _Above(stood, compensation is not None, int(compensation or 0), record)


def _why(above: _Above) -> str:
    if above.status is None:
        return GONE
    return f"its parent is {above.status}" if above.status.ended else FORGOTTEN
