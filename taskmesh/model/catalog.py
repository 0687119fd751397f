"""What a flow's rules have to know of tasks. The registry of tasks is above this layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from taskmesh.model.breakers import Guard
from taskmesh.model.policies import RetryPolicy, TimeLimits


class TaskInfo(Protocol):
    """A task, seen from a flow. ``parameters`` are names, each with whether it must be given."""

    @property
    def name(self) -> str: ...

    @property
    def pool(self) -> str:
        """The pool of its nodes, where they name none."""

    @property
    def retry(self) -> RetryPolicy | None:
        """When its nodes are tried again, where they do not say."""

    @property
    def limits(self) -> TimeLimits:
        """How long its nodes may take, where they do not say."""

    @property
    def guard(self) -> Guard | None:
        """The circuit breaker of its nodes, where they name none."""

    @property
    def compensator(self) -> TaskInfo | None:
        """What undoes its nodes, where they do not say."""

    @property
    def parameters(self) -> tuple[tuple[str, bool], ...]: ...

    @property
    def accepts_any(self) -> bool:
        """Whether it takes arguments of any other name, too."""


class TaskCatalog(Protocol):
    """The tasks that are known."""

    def find(self, name: str) -> TaskInfo | None: ...

    def names(self) -> Iterable[str]: ...
