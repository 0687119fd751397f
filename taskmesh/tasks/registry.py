"""The tasks of an app by name. A name from a message or a flow is looked up here and never imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from taskmesh.errors import UnknownTaskError, UsageError
from taskmesh.model.problems import Hints
from taskmesh.tasks.task import Task


class Registry:
    """A catalog of tasks, in the order in which they were added."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[Any, Any]] = {}

    def add(self, task: Task[Any, Any]) -> None:
        """:raises UsageError: when another task has this name."""
        if self._tasks.setdefault(task.name, task) is not task:
            raise UsageError(f"two tasks are named {task.name!r}; give one of them another name with name=")

    def find(self, name: str) -> Task[Any, Any] | None:
        return self._tasks.get(name)

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
