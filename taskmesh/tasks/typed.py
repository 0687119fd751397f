"""Nodes of node types in flows that are written in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from taskmesh.errors import NodeConfigError, UsageError
from taskmesh.model.node_types import task_of_type, unknown_type
from taskmesh.tasks.mapping import MapHandle, map_task, of_item
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import Task, TaskPolicy
from taskmesh.tasks.trace import Handle, Trace, current_trace


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
        trace = self._trace()
        return trace.call(self.task(trace, config), config)

    def map(self, items: Any, /, **config: Any) -> MapHandle:
        """Add a node that runs one of this type for each of ``items``, a list or a handle of one.

        ``mesh.item`` in ``config`` stands for the item, ``mesh.item["path"]`` for a part of it, ``mesh.index`` for its
        place. Where ``items`` are names with lists, it runs for each way to take one from each, and the names are those
        of entries of ``config``.

        :raises UsageError: as of a call, or where nothing says where the item goes.
        :raises NodeConfigError: the config breaks the rules of the type.
        """
        trace = self._trace()
        config = {**of_item(trace, items, self._nowhere, config), **config}
        return map_task(trace, self.task(trace, config), items, config)

    def task(self, trace: Trace, config: Mapping[str, Any]) -> Task[Any, Any]:
        """The task of its nodes, which would get this config.

        :raises UsageError: the type is not there. :raises NodeConfigError: the config breaks its rules.
        """
        task = self._registry.find(task_of_type(self.name))
        if task is None:
            raise UsageError(unknown_type(self.name, self._registry.types()))
        problems = [sentence for _, sentence in task.argument_findings(trace.rendered(config))]
        if problems:
            raise NodeConfigError(self.name, problems)
        return task.with_policy(self._policy)

    def _trace(self) -> Trace:
        trace = current_trace()
        if trace is None:
            raise UsageError(f"node type {self.name!r} is for functions with @mesh.flow")
        return trace

    def _nowhere(self) -> NoReturn:
        raise UsageError(f"nothing says what {self.name!r} does with each item; give it as mesh.item: url=mesh.item")

    def __repr__(self) -> str:
        return f"<node type {self.name!r}>"
