"""What the engine needs of a flow at every step, computed once: its graph, and its edges as the scripts read them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from taskmesh.dispatch.children.inputs import ChildInputs, ChildUndoInputs
from taskmesh.dispatch.edges import NO_EDGES, Cut, EdgeChunk
from taskmesh.dispatch.hook_inputs import HookInputs
from taskmesh.dispatch.inputs import Inputs, NodeInputs, UndoInputs
from taskmesh.dispatch.maps.inputs import ItemArguments, ItemInputs
from taskmesh.dispatch.rules import Rules
from taskmesh.errors import UsageError, WireError
from taskmesh.model.events.waits import Awaited, awaited_in
from taskmesh.model.flow import Events, Flow, Node, OnFailure
from taskmesh.model.graph import Graph, Lazy
from taskmesh.model.subflows import ChildStep, references_of
from taskmesh.store.events.recorded import WATCHED
from taskmesh.wire import pack
from taskmesh.wire.flows import decode_flow, encode_flow, flow_hash

EDGES_PER_SCRIPT = 200
"""How many dependents one script may tell, so that no script holds Redis for long (about 0.4 ms).

Fixed: a node that was told half-way is gone on with by slices of this size, maybe by a process of another version.
"""

BEFORE_FIRST = -1
"""The place that stands before the first nodes of a flow: its dependents are those that need nothing."""

BEFORE_UNDOS = -4
"""The place that stands before the undos of the last nodes, as the scripts know it."""

TO_PARENT = -5
"""The place that stands before the parent of a run that is a child: whoever takes it up tells the parent of the end."""

BEFORE_HOOKS = -6
"""The place that stands before the hooks of the flow itself, as the scripts know it."""

NO_POOL = -1
"""As the pool of an undo on an edge: nothing could undo its node."""

UNDO_PREFIX = "undo:"
"""The name of an undo begins so, which no name of a node can."""


class Plan:
    """A flow, made ready to run. Immutable; cached by hash.

    Where the flow can undo anything, each of its N nodes has an undo, a node as well: that of the node at place I is
    at the place N + I, and comes after the undos of all nodes that need the node. ``undo_base`` is N then, else None.
    """

    def __init__(self, flow: Flow, body: bytes, hash_: str) -> None:
        self.flow = flow
        self.body = body
        self.hash = hash_
        self.graph = Graph.of(flow)
        self._copies = flow.copies
        self._items = ItemArguments(flow.copies) if flow.copies else None
        self.undo_base = len(flow.nodes) if flow.can_compensate else None
        self.pools = flow.pools
        self._undos: dict[int, Node] = {}
        self._chunks: dict[int, tuple[EdgeChunk, ...]] = {}
        self._inputs: dict[int, Inputs] = {}
        self._inner: dict[int, Plan] = {}
        self.rules = Rules(self.graph)

    @classmethod
    def of(cls, flow: Flow) -> Plan:
        body = encode_flow(flow)
        return cls(flow, body, flow_hash(body))

    @classmethod
    def from_body(cls, body: bytes) -> Plan:
        """:raises WireError: when the bytes are no flow that this version reads."""
        try:
            return cls(decode_flow(body), body, flow_hash(body))
        except (UsageError, LookupError, TypeError) as error:
            raise WireError(f"not a flow: {error}") from None

    @cached_property
    def _pool_numbers(self) -> dict[str, int]:
        return {pool: number for number, pool in enumerate(self.pools)}

    @property
    def compensates(self) -> bool:
        """Whether a failure has undone what had succeeded."""
        return self.undo_base is not None and self.flow.on_failure is OnFailure.COMPENSATE

    @property
    def own_fields(self) -> tuple[str, ...]:
        """Fields of a run that its flow asks for: how many hooks it has, and which ends are sent as events."""
        hooks = ("hooks", str(len(self.graph.hooks))) if self.graph.hooks else ()
        events = () if self.flow.events is Events.NONE else (WATCHED, str(self.flow.events))
        return (*hooks, *events)

    def knows(self, place: int) -> bool:
        """Whether a node can have this place."""
        if place == TO_PARENT:
            return True
        if place == BEFORE_HOOKS:
            return bool(self.graph.hooks)
        if self.undo_base is None:
            return BEFORE_FIRST <= place < len(self.flow.nodes)
        return place == BEFORE_UNDOS or BEFORE_FIRST <= place < 2 * self.undo_base

    def is_undo(self, place: int) -> bool:
        return self.undo_base is not None and place >= self.undo_base

    def undo_of(self, node: int) -> int:
        """The place of the undo of a node. Only where the flow can undo anything."""
        return len(self.flow.nodes) + node

    def node(self, place: int) -> Node:
        """The node or the undo at a place, or the first before some. Of copies, the one that they are copies of."""
        if self.is_undo(place):
            return self._undo(self.undo_of(0) if self._copies else place)
        return self._copies.node if self._copies else self.flow.nodes[max(place, 0)]

    def name_of(self, place: int) -> str:
        if self._copies is None:
            return self.node(place).name
        if self.is_undo(place):
            return f"{UNDO_PREFIX}{self._copies.name_of(place - self._copies.total)}"
        return self._copies.name_of(max(place, 0))

    def place_of(self, name: str) -> int | None:
        """The place of a node or an undo; None where there is none of this name."""
        node = self.graph.index.get(name.removeprefix(UNDO_PREFIX))
        if node is None or not name.startswith(UNDO_PREFIX):
            return node
        return self.undo_of(node) if self.undo_base is not None else None

    def pool_of(self, node: int) -> str:
        return self.pools[0] if node < 0 else self.node(node).pool

    def inputs(self, node: int) -> Inputs:
        if self._items:
            return self._undo_inputs(node) if self.is_undo(node) else self._inputs_of(node)
        inputs = self._inputs.get(node)
        if inputs is None:
            inputs = self._inputs[node] = self._undo_inputs(node) if self.is_undo(node) else self._inputs_of(node)
        return inputs

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The registered flows that it begins by their names, those of flows that stand in its nodes included."""
        return tuple(dict.fromkeys(references_of(self.flow)))

    @cached_property
    def awaited(self) -> tuple[Awaited, ...]:
        """What its nodes wait for, those of flows that stand in them included."""
        return tuple(dict.fromkeys(awaited_in(self.flow)))

    @cached_property
    def begins_children(self) -> bool:
        """Whether any node begins a child run."""
        return any(isinstance(node.step, ChildStep) for node in self.flow.kinds)

    def begins_child(self, place: int) -> bool:
        """Whether a node begins a child run, or the undo at a place has one undone."""
        return isinstance(self.node(place).step, ChildStep)

    def inner_plan(self, place: int) -> Plan | None:
        """The plan of the flow that stands in a node; None where none does."""
        step = self.node(place).step
        flow = step.inline if isinstance(step, ChildStep) else None
        place = 0 if self._copies else place
        if flow is not None and place not in self._inner:
            self._inner[place] = Plan.of(flow)
        return self._inner.get(place)

    def chunks(self, node: int) -> Sequence[EdgeChunk]:
        """The edges that leave a node, in slices of EDGES_PER_SCRIPT; one empty slice where there are none."""
        if self._copies:
            return self._cuts[node] if node in (BEFORE_FIRST, BEFORE_UNDOS) else NO_EDGES
        chunks = self._chunks.get(node)
        if chunks is None:
            chunks = self._chunks[node] = tuple(self._cut(node))
        return chunks

    @cached_property
    def _cuts(self) -> Lazy[Sequence[EdgeChunk]]:
        return Lazy(self._cut)

    @cached_property
    def bound(self) -> bytes:
        """How many copies may run at once, and how many there are, as the scripts read it; empty without a bound."""
        return (
            pack([self._copies.most_at_once, self._copies.total]) if self._copies and self._copies.most_at_once else b""
        )

    @cached_property
    def tolerated(self) -> int | None:
        """How many copies may fail before the others need not run, as too few could succeed; None = any number."""
        copies = self._copies
        is_told = copies is not None and copies.least and self.flow.on_failure is OnFailure.CONTINUE
        return copies.total - copies.least if copies and is_told else None

    def _undo(self, place: int) -> Node:
        undo = self._undos.get(place)
        if undo is None:
            node = self.node(place - len(self.flow.nodes))
            name, by = f"{UNDO_PREFIX}{node.name}", node.compensation
            # Without a task of its own, what undoes a child run is that run.
            step = node.step if by and not by.task else None
            undo = (
                Node(name, by.task, {}, (), by.pool, by.retry, by.limits, step=step)
                if by
                else Node(name, "", pool=self.pools[0])
            )
            self._undos[place] = undo
        return undo

    def _inputs_of(self, node: int) -> Inputs:
        if not self._items and self.flow.nodes[node].hook:
            return HookInputs(self.graph, node, BEFORE_HOOKS)
        inputs = ItemInputs(self._items, node) if self._items else NodeInputs(self.graph, node)
        return ChildInputs(inputs, node) if self.begins_child(node) else inputs

    def _undo_inputs(self, place: int) -> Inputs:
        node = place - len(self.flow.nodes)
        if self.begins_child(place):
            return ChildUndoInputs(node)
        return UndoInputs(self.inputs(node), node)

    def _cut(self, node: int) -> Sequence[EdgeChunk]:
        dependents = self.dependents(node)
        count = max(1, -(-len(dependents) // EDGES_PER_SCRIPT))
        return Cut(count, lambda place: self._chunk(dependents, place * EDGES_PER_SCRIPT))

    def _chunk(self, dependents: Sequence[int], start: int) -> EdgeChunk:
        """The slice of the edges to ``dependents`` that begins at ``start``."""
        told = dependents[start : start + EDGES_PER_SCRIPT]
        packed = pack([part for each in told for part in self._edge(each)])
        return EdgeChunk(start, packed, start + EDGES_PER_SCRIPT >= len(dependents), self.rules.packed(told))

    def pool_number(self, node: int) -> int:
        """The number of a node's pool, as the scripts know it."""
        return self._pool_numbers[self.node(node).pool]

    def dependents(self, place: int) -> Sequence[int]:
        """The places that a place tells of its end, in the order in which it tells them."""
        if place == BEFORE_FIRST:
            return self.graph.roots
        if place == TO_PARENT:
            return ()
        if place == BEFORE_HOOKS:
            return self.graph.hooks
        if place == BEFORE_UNDOS:
            sinks = self.graph.sinks
            return range(len(sinks), 2 * len(sinks)) if self._copies else [self.undo_of(node) for node in sinks]
        if self.is_undo(place):
            return [self.undo_of(node) for node in self.graph.parents[place - len(self.flow.nodes)]]
        return self.graph.successors[place]

    def tellers(self, place: int) -> Sequence[int]:
        """The places that a node or an undo hears from, or that a hook of the flow waits for, before it is decided."""
        if self._copies and not self.is_undo(place) and place not in self._copies.first:
            return range(place)
        if not self.is_undo(place) and self.node(place).is_flow_hook:
            return [*(at for at, node in enumerate(self.flow.nodes) if not node.is_flow_hook), BEFORE_HOOKS]
        if not self.is_undo(place):
            return self.graph.parents[place] or (BEFORE_FIRST,)
        later = self.graph.successors[place - len(self.flow.nodes)]
        return [self.undo_of(node) for node in later] or (BEFORE_UNDOS,)

    def _edge(self, node: int) -> tuple[int, int, int, int]:
        return self._edge_to_undo(node) if self.is_undo(node) else self._edge_to_node(node)

    def _edge_to_undo(self, place: int) -> tuple[int, int, int, int]:
        graph, node = self.graph, place - len(self.flow.nodes)
        by = self.node(node).compensation
        pool = self._pool_numbers[by.pool] if by else NO_POOL
        return place, max(1, len(graph.successors[node])), pool, len(graph.parents[node])

    def _edge_to_node(self, node: int) -> tuple[int, int, int, int]:
        graph = self.graph
        needed = max(1, len(graph.parents[node]))
        return node, needed, self._pool_numbers[self.node(node).pool], len(graph.successors[node])

    def routing_key(self, shard_key: str, node: int) -> str:
        return f"{shard_key}/{node}" if self.flow.shard_by == "node" else shard_key
