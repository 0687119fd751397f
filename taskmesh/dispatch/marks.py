"""Nodes that people end by hand, as the store is asked for that."""

from __future__ import annotations

from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.store.calls import Marking, NodeKey


class Mark(NamedTuple):
    """A node to end by hand. ``state`` is succeeded or skipped; ``cause`` says by whom and why."""

    plan: Plan
    key: NodeKey
    shard_key: str
    state: str
    output: bytes
    cause: str


def marking_of(mark: Mark) -> Marking:
    """What the store is asked for a mark."""
    plan, node = mark.plan, mark.key.node
    first = plan.chunks(node)[0]
    written = mark.state, mark.output, mark.cause
    pool, can_be_undone = plan.pool_of(node), plan.node(node).compensation is not None
    edges, turn = (first.packed, first.last), (plan.node(node).is_flow_hook or bool(plan.bound), plan.bound)
    return Marking(mark.key, *written, plan.hash, pool, plan.pools, *edges, can_be_undone, first.special, *turn)
