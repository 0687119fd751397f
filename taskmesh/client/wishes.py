"""What an ended run is to go on for, as it is kept with the run while that is prepared: as the kind of its pause.

``retry`` runs again what has not succeeded, ``retry NODE`` also a map that has succeeded though items of it have not,
``retry NODE[PLACE]`` of that map this item alone; ``rerun NODE`` and ``rerun NODE[PLACE]`` run again whatever has
become of it. In the run of the items of a map, an item is a node.
"""

from __future__ import annotations

from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError
from taskmesh.model.item_names import read_item_name
from taskmesh.model.problems import Hints

RETRY = "retry"
RERUN = "rerun"
FORK = "fork"


class Wish(NamedTuple):
    """``place`` is the node to begin with, None where none is named; ``item`` is the name of the one of its items."""

    verb: str
    place: int | None = None
    item: str = ""

    @property
    def is_of_items(self) -> bool:
        """Whether the items of the named map go on, and do not begin anew."""
        return self.place is not None and (self.verb == RETRY or bool(self.item))

    @property
    def is_alone(self) -> bool:
        """Whether no other copy runs again that has failed."""
        return self.verb == RETRY and self.place is not None


def kind_of(verb: str, node: str) -> str:
    """How a wish is kept."""
    return f"{verb} {node}" if node else verb


def read_wish(plan: Plan, kind: str) -> Wish:
    """:raises UsageError: the flow has no such node."""
    verb, _, name = kind.partition(" ")
    if not name or verb == FORK:
        return Wish(verb)
    place = plan.graph.index.get(name)
    if place is not None:
        return Wish(verb, place)
    item = read_item_name(name)
    return Wish(verb, place_of(plan, item[0] if item else name), name if item else "")


def place_of(plan: Plan, node: str) -> int:
    """The place of a node of a flow.

    :raises UsageError: it has none of this name.
    """
    place = plan.graph.index.get(node)
    if place is None:
        hint = Hints(plan.graph.names).did_you_mean(node)
        raise UsageError(f"flow {plan.flow.name!r} has no node {node!r}{hint}")
    return place
