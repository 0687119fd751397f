"""Hooks: nodes that only observe how a node, or the whole flow, has ended.

A hook of a node needs that node and nothing else; one of the flow needs nothing and begins when all else has ended.
Whatever becomes of a hook, its run ends as it would have ended without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from taskmesh.model.states import NodeState


class Hook(StrEnum):
    """What a hook waits for."""

    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    FINALLY = "finally"


BEGINS_AFTER: Mapping[Hook, tuple[NodeState, ...]] = {
    Hook.ON_SUCCESS: (NodeState.SUCCEEDED,),
    Hook.ON_FAILURE: (NodeState.FAILED,),
    Hook.FINALLY: (NodeState.SUCCEEDED, NodeState.FAILED, NodeState.CANCELLED),
}
"""The ends of its node, or of the run, after which a hook begins; after any other it is skipped. A node that was
skipped, or could not run, has no hooks that run."""

OF_FLOW = "flow:"
"""The name of a hook of the flow begins so, which no name of a node can."""


def hook_name(hook: Hook, node: str = "") -> str:
    """The name of a hook of a node, or of the flow."""
    return f"{node}.{hook}" if node else f"{OF_FLOW}{hook}"


def fate_after(hook: Hook, state: NodeState) -> NodeState:
    """What becomes of a hook whose node, or run, has ended so."""
    return NodeState.READY if state in BEGINS_AFTER[hook] else NodeState.SKIPPED
