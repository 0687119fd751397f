"""The tasks of an app by name. A name from a message or a flow is looked up here and never imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from taskmesh.errors import UnknownTaskError, UsageError
from taskmesh.model.breakers import BreakerRules
from taskmesh.model.node_types import type_of_task
from taskmesh.model.problems import Hints
from taskmesh.tasks.task import Task


class NodeTypeCatalog(Protocol):
    """The node types that are known; the tasks that stand for them are found by the names of the types."""

    def find(self, name: str) -> Task[Any, Any] | None: ...

    def names(self) -> Iterable[str]: ...

    def reason_off(self, name: str) -> str:
        """Why nodes of a type cannot be executed here; empty where they can, or where no such type is known."""


class NoNodeTypes:
    """A catalog for an app that nobody has given node types."""

    def find(self, name: str) -> None:
        """Nothing is known."""

    def names(self) -> Iterable[str]:
        return ()

    def reason_off(self, name: str) -> str:
        return ""


class Registry:
    """A catalog of tasks, in the order in which they were added. ``node_types`` are known beside them."""

    def __init__(self, node_types: NodeTypeCatalog | None = None) -> None:
        self._tasks: dict[str, Task[Any, Any]] = {}
        self.node_types: NodeTypeCatalog = node_types or NoNodeTypes()
        self.breakers: dict[str, BreakerRules] = {}

    def add(self, task: Task[Any, Any]) -> None:
        """:raises UsageError: when another task has this name, or its fallback cannot stand in for it."""
        if self._tasks.setdefault(task.name, task) is not task:
            raise UsageError(f"two tasks are named {task.name!r}; give one of them another name with name=")
        fallback = self.find(task.guard.fallback) if task.guard else None
        if fallback is not None:
            _check_stand_in(task, fallback)

    def declare(self, rules: BreakerRules) -> None:
        """:raises UsageError: when a breaker of this name has other rules."""
        if self.breakers.setdefault(rules.name, rules) != rules:
            raise UsageError(f"breaker {rules.name!r} is declared twice, with different rules")

    def find(self, name: str) -> Task[Any, Any] | None:
        kind = type_of_task(name)
        return self.node_types.find(kind) if kind else self._tasks.get(name)

    def types(self) -> Iterable[str]:
        return self.node_types.names()

    @property
    def is_open(self) -> bool:
        """Whether no app has been loaded, so that nothing is known of the tasks there are."""
        return not self._tasks

    def require(self, name: str) -> Task[Any, Any]:
        """:raises UnknownTaskError: with the nearest known name."""
        task = self._tasks.get(name)
        if task is None:
            raise UnknownTaskError(name, Hints(self._tasks).did_you_mean(name))
        return task

    def names(self) -> Iterable[str]:
        return self._tasks.keys()

    def __iter__(self) -> Iterator[Task[Any, Any]]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


def _check_stand_in(task: Task[Any, Any], fallback: Task[Any, Any]) -> None:
    """A fallback gets the arguments of the task as they are."""
    names, theirs = {name for name, _ in task.parameters}, dict(fallback.parameters)
    surplus = set() if fallback.accepts_any else names - theirs.keys()
    missing = {name for name, required in task.parameters if required is False and theirs.get(name, False)}
    missing |= {name for name, required in fallback.parameters if required} - names
    if surplus or missing:
        found = ", ".join(sorted(map(repr, surplus | missing)))
        raise UsageError(
            f"the fallback {fallback.name!r} gets the arguments of {task.name!r}, so it needs the same parameters; "
            f"they differ in {found}"
        )
