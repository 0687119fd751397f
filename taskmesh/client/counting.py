"""How far the runs are in which the items of mapped nodes are worked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.model.mapping import Map
from taskmesh.store.reader import Reader

if TYPE_CHECKING:
    from taskmesh.client.details import NodeDetails


class Counted(NamedTuple):
    """How many items there are, and how many of them have ended."""

    ended: int
    total: int

    def __str__(self) -> str:
        return f"{self.ended:,}/{self.total:,} items"


def counted(reader: Reader, run_ids: Sequence[str]) -> dict[str, Counted]:
    """Those of the runs that are there, by their ids."""
    return {each.run_id: Counted(each.nodes - each.remaining, each.nodes) for each in reader.summaries(run_ids)}


def with_counts(nodes: Sequence[NodeDetails], plan: Plan, reader: Reader) -> tuple[NodeDetails, ...]:
    """The nodes of a run, those that are mapped with the counts of their items."""
    mapped = {node.name for node in plan.flow.kinds if isinstance(node.step, Map)} if plan.begins_children else set()
    children = [node.child for node in nodes if node.child and node.name in mapped]
    if not children:
        return tuple(nodes)
    found = counted(reader, children)
    return tuple(replace(node, items=found.get(node.child)) if node.name in mapped else node for node in nodes)
