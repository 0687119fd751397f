"""What a flow's rules have to know of tasks. The registry of tasks is above this layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from taskmesh.model.breakers import Guard
from taskmesh.model.policies import RetryPolicy, TimeLimits
from taskmesh.model.problems import Path
from taskmesh.model.values import Values


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

    def argument_findings(self, arguments: Values) -> Iterable[tuple[Path, str]]:
        """What is wrong with arguments beyond their names, as far as the references in them let that be seen."""


class TaskCatalog(Protocol):
    """The tasks that are known, those of node types among them (see ``model.node_types``)."""

    def find(self, name: str) -> TaskInfo | None: ...

    def names(self) -> Iterable[str]: ...

    def types(self) -> Iterable[str]:
        """The names of the node types."""

    @property
    def is_open(self) -> bool:
        """Whether nodes may name other tasks, which only their workers know. Node types are known all the same."""
