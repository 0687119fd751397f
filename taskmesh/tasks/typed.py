"""Nodes of node types in flows that are written in Python."""

from __future__ import annotations

from typing import Any

from taskmesh.errors import NodeConfigError, UsageError
from taskmesh.model.node_types import task_of_type, unknown_type
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import TaskPolicy
from taskmesh.tasks.trace import Handle, current_trace


class TypedNodes:
    """What ``mesh.node_type`` gives. The type is looked for when the first node is added, not when this is made."""

    def __init__(self, name: str, policy: TaskPolicy, registry: Registry) -> None:
        self.name = name
        self._policy = policy
        self._registry = registry

    def __call__(self, **config: Any) -> Handle:
        """Add a node to the flow that is being described.

        :raises UsageError: outside of a flow, or for a type that is not there.
        :raises NodeConfigError: the config breaks the rules of the type.
        """
        trace = current_trace()
        if trace is None:
            raise UsageError(f"node type {self.name!r} is for functions with @mesh.flow")
        task = self._registry.find(task_of_type(self.name))
        if task is None:
            raise UsageError(unknown_type(self.name, self._registry.types()))
        problems = [sentence for _, sentence in task.argument_findings(trace.rendered(config))]
        if problems:
            raise NodeConfigError(self.name, problems)
        return trace.call(task.with_policy(self._policy), config)

    def __repr__(self) -> str:
        return f"<node type {self.name!r}>"
