"""What the engine needs of a flow at every step, computed once: its graph, and its edges as the scripts read them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from taskmesh.dispatch.inputs import Inputs
from taskmesh.errors import UsageError, WireError
from taskmesh.model.flow import Flow
from taskmesh.model.graph import Graph
from taskmesh.wire import pack
from taskmesh.wire.flows import decode_flow, encode_flow, flow_hash

EDGES_PER_SCRIPT = 200
"""How many dependents one script may tell, so that no script holds Redis for long (about 0.4 ms).

Fixed: a node that was told half-way is gone on with by slices of this size, maybe by a process of another version.
"""

BEFORE_FIRST = -1
"""The place that stands before the first nodes of a flow: its dependents are those that need nothing."""


@dataclass(frozen=True, slots=True)
class EdgeChunk:
    """A slice of the edges that leave one node. ``start`` counts the edges before it."""

    start: int
    packed: bytes
    last: bool


class Plan:
    """A flow, made ready to run. Immutable; cached by hash."""

    def __init__(self, flow: Flow, body: bytes, hash_: str) -> None:
        self.flow = flow
        self.body = body
        self.hash = hash_
        self.graph = Graph.of(flow)
        self.pools: tuple[str, ...] = tuple(dict.fromkeys(node.pool for node in flow.nodes))
        self._chunks: dict[int, tuple[EdgeChunk, ...]] = {}
        self._inputs: dict[int, Inputs] = {}

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

    def pool_of(self, node: int) -> str:
        return self.pools[0] if node == BEFORE_FIRST else self.flow.nodes[node].pool

    def inputs(self, node: int) -> Inputs:
        inputs = self._inputs.get(node)
        if inputs is None:
            inputs = self._inputs[node] = Inputs(self.graph, node)
        return inputs

    def chunks(self, node: int) -> tuple[EdgeChunk, ...]:
        """The edges that leave a node, in slices of EDGES_PER_SCRIPT; one empty slice where there are none."""
        chunks = self._chunks.get(node)
        if chunks is None:
            chunks = self._chunks[node] = self._cut(node)
        return chunks

    def _cut(self, node: int) -> tuple[EdgeChunk, ...]:
        dependents = self.graph.roots if node == BEFORE_FIRST else self.graph.successors[node]
        starts = range(0, len(dependents), EDGES_PER_SCRIPT) or range(1)
        return tuple(
            EdgeChunk(
                start,
                pack([part for each in dependents[start : start + EDGES_PER_SCRIPT] for part in self._edge(each)]),
                start + EDGES_PER_SCRIPT >= len(dependents),
            )
            for start in starts
        )

    def pool_number(self, node: int) -> int:
        """The number of a node's pool, as the scripts know it."""
        return self._pool_numbers[self.flow.nodes[node].pool]

    def _edge(self, node: int) -> tuple[int, int, int, int]:
        graph = self.graph
        needed = max(1, len(graph.parents[node]))
        return node, needed, self._pool_numbers[self.flow.nodes[node].pool], len(graph.successors[node])

    def routing_key(self, shard_key: str, node: int) -> str:
        return f"{shard_key}/{node}" if self.flow.shard_by == "node" else shard_key


class Plans:
    """The plans that this process has seen last, at most ``capacity`` of them. Safe in threads."""

    def __init__(self, fetch: Callable[[str, str], bytes | None], capacity: int = 256) -> None:
        self._fetch = fetch
        self._capacity = capacity
        self._plans: dict[str, Plan] = {}
        self._lock = threading.Lock()

    def add(self, plan: Plan) -> None:
        with self._lock:
            self._plans[plan.hash] = plan
            while len(self._plans) > self._capacity:
                del self._plans[next(iter(self._plans))]

    def get(self, hash_: str, run_id: str) -> Plan | None:
        """The plan with this hash, from the cache or from the partition of ``run_id``; None where neither has it."""
        plan = self._plans.get(hash_)
        if plan is None:
            body = self._fetch(hash_, run_id)
            if body is None:
                return None
            plan = Plan.from_body(body)
            self.add(plan)
        return plan
