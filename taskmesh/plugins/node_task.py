"""The task that stands for a node type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from taskmesh.errors import NodeConfigError, UsageError
from taskmesh.model.node_types import foreseen, task_of_type
from taskmesh.model.problems import Path
from taskmesh.model.values import Value, Values
from taskmesh.plugins.config_schema import ConfigSchema, holds_unknown
from taskmesh.plugins.interface import NodeContext, NodeType
from taskmesh.tasks.task import Task, TaskPolicy


def _nowhere() -> NodeContext:
    raise UsageError("a node type is executed by workers only")


class NodeTypeTask(Task[..., Any]):
    """Executes nodes of one type; ``current`` tells about the one that runs."""

    def __init__(
        self,
        of: NodeType,
        schema: ConfigSchema,
        current: Callable[[], NodeContext] = _nowhere,
        policy: TaskPolicy | None = None,
    ) -> None:
        def run(**config: Any) -> Value:
            self._check(config)
            return of.execute(config, current())

        self._of = of
        self._schema = schema
        super().__init__(run, task_of_type(of.name), policy or TaskPolicy())

    def for_worker(self, current: Callable[[], NodeContext]) -> NodeTypeTask:
        """The same, to be executed here."""
        return NodeTypeTask(self._of, self._schema, current)

    def with_policy(self, policy: TaskPolicy) -> NodeTypeTask:
        return NodeTypeTask(self._of, self._schema, policy=policy)

    def argument_findings(self, arguments: Values) -> Iterable[tuple[Path, str]]:
        return self._findings(foreseen(arguments))

    def _check(self, config: dict[str, Any]) -> None:
        problems = [sentence for _, sentence in self._findings(config)]
        if problems:
            raise NodeConfigError(self._of.name, problems)

    def _findings(self, config: dict[str, Any]) -> Iterator[tuple[Path, str]]:
        found = list(self._schema.findings(config))
        yield from found
        if not found and not holds_unknown(config):
            yield from ((_NOWHERE, sentence) for sentence in self._validated(config))

    def _validated(self, config: dict[str, Any]) -> list[str]:
        """Code of others, so it may fail in any way; that must hide no other problem, nor tell a value."""
        try:
            return [str(sentence) for sentence in self._of.validate(config)]
        except Exception as error:
            return [f"validate() of node type {self._of.name!r} failed with {type(error).__name__}"]


_NOWHERE: Path = ()
