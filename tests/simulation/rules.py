"""What the rules of nodes allow, by the reference model: after which ends one may begin, or end without running."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from taskmesh.model.flow import Flow, Node
from taskmesh.model.states import NodeState
from taskmesh.store.records import RunRecord
from tests.model.interpreter import FAILED, GROUPS, HEARD_BY, SKIPPED, Interpreter, certainty, is_blamed


def may_begin(node: Node, ends: Sequence[str]) -> bool:
    """Whether a node may begin. ``ends`` are of those that it needs, "" = not yet.

    A node that scripts have left out counts as ``skipped``: they do not say whether it is ``upstream_failed``.
    """
    if node.hook:
        return all(end in HEARD_BY[node.hook] for end in ends)
    return any(certainty(node, way) for way in product(*map(_groups, ends)))


def may_end(node: Node, state: NodeState, ends: Sequence[NodeState]) -> bool:
    """Whether a node may have ended so, where those that it needs have ended as ``ends``.

    One that is left out has heard of those ends, or of some of them.
    """
    if node.hook:
        runs = all(end in HEARD_BY[node.hook] for end in ends)
        return state in (NodeState.SUCCEEDED, NodeState.FAILED) if runs else state is NodeState.SKIPPED
    groups = [GROUPS[end] for end in ends]
    if state not in (NodeState.SKIPPED, NodeState.UPSTREAM_FAILED):
        return certainty(node, groups) is True
    is_for_failure = state == NodeState.UPSTREAM_FAILED
    ways = product(*((group, None) for group in groups))
    return any(is_blamed(node, heard) == is_for_failure and certainty(node, heard) is False for heard in ways)


def ends_of_run(flow: Flow, record: RunRecord) -> set[NodeState]:
    """How hooks of the flow may have heard that a run ends; somebody may have cancelled it after that."""
    own = NodeState.FAILED if has_failed(flow, record) else NodeState.SUCCEEDED
    return {own, NodeState(record.summary.halt)} if record.summary.halt else {own}


def has_failed(flow: Flow, record: RunRecord) -> bool:
    """Whether the ends of its nodes make a run a failure: one that no dependent can take."""
    told = Interpreter(flow)
    told.states.update({node.name: record.nodes[at].state for at, node in enumerate(flow.nodes)})
    return told.has_failed


def _groups(end: str) -> tuple[str | None, ...]:
    if not end:
        return (None,)
    return (SKIPPED, FAILED) if end == NodeState.SKIPPED else (GROUPS[NodeState(end)],)
