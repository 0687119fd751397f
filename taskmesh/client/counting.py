"""How far the runs are in which the items of mapped nodes are worked on, and which items have failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.model.item_names import item_name
from taskmesh.model.mapping import Map
from taskmesh.model.states import NodeState
from taskmesh.store.reader import Reader
from taskmesh.store.records import RunSummary, node_record
from taskmesh.wire import unpack

if TYPE_CHECKING:
    from taskmesh.client.details import NodeDetails

FAILED_ITEMS_TOLD = 20
"""Of so many items that have failed it is told why; all are counted."""


class FailedItem(NamedTuple):
    """An item that has failed, by its name in the run that the map is in, and its error."""

    item: str
    type: str
    message: str


class Counted(NamedTuple):
    """How many items there are, and how many of them have ended.

    Where it is asked for, ``states`` says how many are in which state, and ``failed`` names the first that have failed.
    """

    ended: int
    total: int
    states: Mapping[str, int] = {}
    failed: tuple[FailedItem, ...] = ()

    def __str__(self) -> str:
        return f"{self.ended:,}/{self.total:,} items"


def counted(reader: Reader, run_ids: Sequence[str]) -> dict[str, Counted]:
    """Those of the runs that are there, by their ids; without states."""
    return {each.run_id: _count(each) for each in reader.summaries(run_ids)}


def with_counts(nodes: Sequence[NodeDetails], plan: Plan, reader: Reader) -> tuple[NodeDetails, ...]:
    """The nodes of a run, those that are mapped with the counts of their items."""
    mapped = {node.name for node in plan.flow.kinds if isinstance(node.step, Map)} if plan.begins_children else set()
    children = {node.child: node.name for node in nodes if node.child and node.name in mapped}
    if not children:
        return tuple(nodes)
    found = {each.run_id: _told(reader, each, children[each.run_id]) for each in reader.summaries([*children])}
    return tuple(replace(node, items=found.get(node.child)) if node.name in mapped else node for node in nodes)


def _count(run: RunSummary) -> Counted:
    return Counted(run.nodes - run.remaining, run.nodes)


def _told(reader: Reader, run: RunSummary, node: str) -> Counted:
    states = list(_states(reader, run))
    counts = {str(state): count for state, count in Counter(states).items()}
    failed = [place for place, state in enumerate(states) if state is NodeState.FAILED][:FAILED_ITEMS_TOLD]
    errors = reader.run_fields(run.run_id, [f"error:{place}" for place in failed]) if failed else []
    told = tuple(_failed(item_name(node, place), error) for place, error in zip(failed, errors, strict=True))
    return _count(run)._replace(states=counts, failed=told)


def _states(reader: Reader, run: RunSummary) -> Iterator[NodeState]:
    """The states of the items; what they were doing when their run was terminated says nothing any more."""
    has_ended = run.status.ended
    for packed in reader.run_fields(run.run_id, [f"node:{place}" for place in range(run.nodes)]):
        state = node_record(packed).state if packed else NodeState.WAITING
        yield NodeState.CANCELLED if has_ended and not state.ended else state


def _failed(name: str, error: bytes | None) -> FailedItem:
    fields = unpack(error) if error else {"type": "", "message": "unknown"}
    return FailedItem(name, fields["type"], fields["message"])
