"""What becomes of a node once those that it needs end, and whose failures it can take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from taskmesh.model.depends import Depends, parse_depends
from taskmesh.model.flow import Node
from taskmesh.model.hooks import fate_after
from taskmesh.model.states import NodeState
from taskmesh.model.triggers import Group, Heard, Thresholds, group_of, thresholds


@lru_cache(maxsize=4096)
def depends_of(text: str) -> Depends:
    """The compiled expression of a checked node."""
    return parse_depends(text)


def thresholds_of(node: Node) -> Thresholds:
    """The rule of a node that has no expression instead."""
    return thresholds(node.trigger.rule, len(node.needs), node.trigger.count)


def decide(node: Node, states: Mapping[str, NodeState]) -> NodeState | None:
    """Ready, or what the node ends as without running, or None while it waits; ``states`` are by name.

    A needed node that is missing there has not ended. A hook of the flow waits: it is decided by the end of the run.
    """
    if node.hook:
        ends = [states[name] for name in node.needs if name in states]
        return fate_after(node.hook, ends[0]) if ends else None
    if node.trigger.depends:
        return depends_of(node.trigger.depends).decide(states)
    if not node.needs:
        return NodeState.READY
    groups = Counter(group_of(states[name]) for name in node.needs if name in states)
    return thresholds_of(node).decide(Heard(*(groups[group] for group in Group)))


def takes_failure(node: Node, needed: str) -> bool:
    """Whether the node can still begin after ``needed``, one of those that it needs, has failed; a hook takes none."""
    if node.hook:
        return False
    if node.trigger.depends:
        return depends_of(node.trigger.depends).takes_failure(needed)
    return thresholds_of(node).takes_failure
