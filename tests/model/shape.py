"""A small graph, and how the scripts are told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node

ROOT = -1
"""Stands before the first nodes where they are too many for one script."""


@dataclass(frozen=True)
class Shape:
    """A graph: for each node those that it needs, its pool, and how many dependents one script may tell."""

    parents: tuple[tuple[int, ...], ...]
    pools: tuple[str, ...]
    slice_size: int
    children: dict[int, tuple[int, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        places = range(len(self.parents))
        children = {at: tuple(child for child in places if at in self.parents[child]) for at in places}
        children[ROOT] = tuple(at for at in places if not self.parents[at])
        object.__setattr__(self, "children", children)

    def slices(self, node: int) -> list[int]:
        """Where the slices of a node's dependents begin; one empty slice where there are none."""
        return list(range(0, len(self.children[node]), self.slice_size) or range(1))

    def pool_of(self, node: int) -> str:
        return self.pools[max(node, 0)]

    def plan(self) -> Plan:
        """The same graph as the product knows it."""
        nodes = tuple(
            Node(f"n{at}", "t", needs=tuple(f"n{parent}" for parent in parents), pool=self.pools[at])
            for at, parents in enumerate(self.parents)
        )
        return Plan.of(Flow("flow", "1", nodes))
