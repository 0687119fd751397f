"""A small graph, and how the scripts are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskmesh.dispatch.plan import Plan
from taskmesh.model.fates import takes_failure
from taskmesh.model.flow import Compensation, Copies, Flow, Node, OnFailure
from taskmesh.model.triggers import PLAIN, Trigger

ROOT = -1
"""Stands before the first nodes where they are too many for one script."""


BEFORE_UNDOS = -4
"""Stands before the undos of the last nodes."""

BEFORE_HOOKS = -6
"""Stands before the hooks of the flow."""


TO_PARENT = -5
"""Stands before the parent of a run that is a child."""


@dataclass(frozen=True)
class Shape:
    """A graph: for each node those that it needs, its pool, and how many dependents one script may tell.

    Those in ``undoable`` can be undone; the undo of node I is at the place ``undo_base`` + I, in the pool of the node
    that is as far from the end as I from the beginning. Nodes that are not in ``triggers`` have the plain rule.
    With a ``bound``, the nodes are copies of one of which only so many may run at once.
    """

    parents: tuple[tuple[int, ...], ...]
    pools: tuple[str, ...]
    slice_size: int
    undoable: frozenset[int] = frozenset()
    triggers: Mapping[int, Trigger] = field(default_factory=dict)
    bound: int = 0
    children: dict[int, tuple[int, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        places = range(len(self.parents))
        children = {at: tuple(child for child in places if at in self.parents[child]) for at in places}
        roots = tuple(at for at in places if not self.parents[at] and at not in self.flow_hooks)
        children[ROOT] = roots[: self.bound or None]
        if self.flow_hooks:
            children[BEFORE_HOOKS] = self.flow_hooks
        if self.undoable:
            base = self.undo_base
            children[BEFORE_UNDOS] = tuple(base + at for at in places if not children[at])
            children |= {base + at: tuple(base + parent for parent in self.parents[at]) for at in places}
        object.__setattr__(self, "children", children)

    @property
    def flow_hooks(self) -> tuple[int, ...]:
        """Those that wait for all else."""
        return tuple(at for at, needs in enumerate(self.parents) if not needs and self.trigger(at).hook)

    @property
    def undo_base(self) -> int:
        return len(self.parents)

    def is_undo(self, place: int) -> bool:
        return bool(self.undoable) and (place >= self.undo_base or place == BEFORE_UNDOS)

    def can_undo(self, undo: int) -> bool:
        return undo - self.undo_base in self.undoable

    @property
    def places(self) -> range:
        """Those of the nodes and of the undos."""
        return range(self.undo_base * (2 if self.undoable else 1))

    def before(self, place: int) -> tuple[int, ...]:
        """The places that tell a node or an undo; before a hook of the flow, all else must have ended."""
        if place in self.flow_hooks:
            return (*(at for at in range(self.undo_base) if at not in self.flow_hooks), BEFORE_HOOKS)
        return self._before_undo(place) if self.is_undo(place) else self.parents[place]

    def _before_undo(self, undo: int) -> tuple[int, ...]:
        later = self.children[undo - self.undo_base] if undo >= 0 else ()
        return tuple(self.undo_base + at for at in later) or (BEFORE_UNDOS,)

    def slices(self, node: int) -> list[int]:
        """Where the slices of a node's dependents begin; one empty slice where there are none."""
        return list(range(0, len(self.children.get(node, ())), self.slice_size) or range(1))

    def pool_of(self, node: int) -> str:
        if node < len(self.pools):
            return self.pools[max(node, 0)]
        return self.pools[self.undo_base - 1 - (node - self.undo_base)] if self.can_undo(node) else self.pools[0]

    def plan(self, on_failure: str = OnFailure.CONTINUE) -> Plan:
        """The same graph as the product knows it."""
        nodes: Sequence[Node] = tuple(self.node(at) for at in range(len(self.parents)))
        if self.bound:
            nodes = Copies(Node("n", "t", pool=self.pools[0]), len(self.parents), most_at_once=self.bound)
        return Plan.of(Flow("flow", "1", nodes, on_failure=OnFailure(on_failure)))

    def trigger(self, at: int) -> Trigger:
        return self.triggers.get(at, PLAIN)

    def sees(self, at: int) -> tuple[int, ...]:
        """What a condition of a node could read that may not have ended when the node is taken up first."""
        return self.parents[at] if at in range(self.undo_base) and self.trigger(at).begins_early else ()

    def counts(self, at: int) -> bool:
        """Whether a node counts more than those that arrived."""
        return not (self.trigger(at).is_plain or self.trigger(at).depends or self.trigger(at).hook)

    def is_handled(self, at: int) -> bool:
        """Whether somebody can go on after a node has failed, or it is a hook."""
        if self.trigger(at).hook:
            return True
        return any(takes_failure(self.node(child), f"n{at}") for child in self.children[at] if not self.is_undo(at))

    def node(self, at: int) -> Node:
        needs = tuple(f"n{parent}" for parent in self.parents[at])
        undo = Compensation("u", self.pool_of(self.undo_base + at)) if at in self.undoable else None
        return Node(f"n{at}", "t", needs=needs, pool=self.pools[at], compensation=undo, trigger=self.trigger(at))
