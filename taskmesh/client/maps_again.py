"""Lets the items of maps go on that a run has begun: only those run again that have not succeeded.

The node of such a map is reset so that it goes on with the run of its items, which it has begun; then that is reopened,
too. Whoever dies in between leaves a node that is ready and the run of whose items has ended, or is paused for this:
so the next one sees what is left to be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from taskmesh.client.parts import ClientParts
from taskmesh.client.wishes import FORK, Wish
from taskmesh.dispatch.plan import Plan
from taskmesh.model.mapping import Map
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome, child_id
from taskmesh.store.records import NodeRecord

Records = Mapping[int, NodeRecord]

_UNFINISHED = (RunState.FAILED, RunState.CANCELLED, RunState.TERMINATED)


class ItemsRun(NamedTuple):
    """The run of the items of a map, which stands at a place of the run that it is in."""

    place: int
    run_id: str
    status: RunState


class MapsAgain:
    """Reads; changes nothing."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts

    def items_run(self, run_id: str, plan: Plan, place: int) -> ItemsRun | None:
        """The run of the items of a map that has begun; None for any other node, or where it is gone."""
        [record] = self._parts.reader.node_records([NodeKey(run_id, place)])
        found = self._items_runs(run_id, plan, {place: record} if record else {})
        return found[0] if found else None

    def continued(self, run_id: str, plan: Plan, records: Records, wish: Wish) -> set[int]:
        """The maps whose items can go on: of those that have not succeeded, and of the one that the wish names."""
        if wish.verb == FORK:
            return set()
        anew = None if wish.is_of_items else wish.place
        return {
            each.place for each in self._items_runs(run_id, plan, records) if each.place != anew and _fits(each, wish)
        }

    def to_reopen(self, run_id: str, plan: Plan, wish: Wish) -> list[ItemsRun]:
        """The runs of items with which maps go on that are ready, and which do not go on themselves yet.

        One of whose end the map has heard has gone on, and come to that.
        """
        records = self._parts.reader.records_of_run(run_id)
        ready = {at: each for at, each in records.items() if each.state is NodeState.READY}
        found = self._items_runs(run_id, plan, ready)
        heard = self._parts.reader.run_fields(run_id, [f"child:{each.place}" for each in found]) if found else []
        waits = [each for each, news in zip(found, heard, strict=True) if not _has_heard(each, news)]
        return [each for each in waits if each.status is RunState.PAUSED or _fits(each, wish)]

    def _items_runs(self, run_id: str, plan: Plan, records: Records) -> list[ItemsRun]:
        wanted = [
            (at, child_id(NodeKey(run_id, at), each.opened_at, each.retries)) for at, each in _maps(plan, records)
        ]
        statuses = self._parts.reader.statuses([child for _, child in wanted])
        pairs = zip(wanted, statuses, strict=True)
        return [ItemsRun(at, child, status) for (at, child), status in pairs if status is not None]


def _maps(plan: Plan, records: Records) -> Iterator[tuple[int, NodeRecord]]:
    if not plan.begins_children or plan.flow.copies:
        return
    for at, record in records.items():
        if 0 <= at < len(plan.flow.nodes) and isinstance(plan.node(at).step, Map):
            yield at, record


def _fits(each: ItemsRun, wish: Wish) -> bool:
    """A map that fails though all of its items have succeeded begins anew: what they gave back is of no use."""
    is_named = wish.is_of_items and each.place == wish.place
    return each.status in _UNFINISHED or (is_named and each.status is RunState.SUCCEEDED)


def _has_heard(each: ItemsRun, news: bytes | None) -> bool:
    return news is not None and Outcome.read(news).ticket == each.run_id
