"""Who answers when a task is called: its own function, or what stands in for it. Every call is kept."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from taskmesh.clock import Clock
from taskmesh.errors import UnknownTaskError
from taskmesh.model.problems import Hints
from taskmesh.plugins.node_task import NodeTypeTask
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import Task
from taskmesh.testing.calls import PLAIN, Call, Part, Stub, Turn
from taskmesh.worker.executors.invoke import Runnable, current

TURN: contextvars.ContextVar[Turn] = contextvars.ContextVar("turn", default=PLAIN)
"""How the attempt goes that runs here."""


class Cast(Mapping[str, Runnable]):
    """The tasks of a registry, as an invoker sees them."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._stubs: list[Stub] = []
        self._calls: list[Call] = []

    def __getitem__(self, name: str) -> Runnable:
        task = self._registry.find(name)
        if task is None:
            raise KeyError(name)
        return _Player(task.for_worker(current) if isinstance(task, NodeTypeTask) else task, self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.names())

    def __len__(self) -> int:
        return len(self._registry)

    def name_of(self, task: Task[Any, Any] | str) -> str:
        """The full name of a task, by itself, its name, or its function's name where only one task has that.

        :raises UnknownTaskError: there is none, or more than one.
        """
        if isinstance(task, Task):
            return self._registry.require(task.name).name
        if self._registry.find(task) is not None:
            return task
        found = [name for name in self._registry.names() if name.rpartition(":")[2] == task]
        if len(found) > 1:
            raise UnknownTaskError(task, f": it may be any of {', '.join(sorted(found))}")
        if not found:
            shorts = [name.rpartition(":")[2] for name in self._registry.names()]
            raise UnknownTaskError(task, Hints([*self._registry.names(), *shorts]).did_you_mean(task))
        return found[0]

    def stub(self, task: str, node: str | None, part: Part, times: int | None) -> Stub:
        stub = Stub(task, node, part, times, self._remove)
        self._stubs.append(stub)
        return stub

    def turn(self, task: str, node: str) -> Turn:
        """How the next attempt of a task goes: by its newest stub that has an answer left."""
        for stub in reversed(self._stubs):
            turn = stub.take_turn() if stub.is_for(task, node) else None
            if turn is not None:
                return turn
        return PLAIN

    def calls(self, task: str) -> list[Call]:
        return [call for call in self._calls if call.task == task]

    def begin_call(self, task: str, arguments: Mapping[str, Any]) -> Call:
        here = current()
        is_stubbed = TURN.get().answer is not None
        return Call(task, here.run_id, here.node, here.attempt, arguments, self._clock.now(), is_stubbed=is_stubbed)

    def end_call(self, call: Call) -> None:
        self._calls.append(call)
        stub = TURN.get().stub
        if stub is not None:
            stub.calls.append(call)

    def _remove(self, stub: Stub) -> None:
        if stub in self._stubs:
            self._stubs.remove(stub)


class _Player:
    """A task as an invoker sees it."""

    def __init__(self, task: Task[Any, Any], cast: Cast) -> None:
        self._task = task
        self._cast = cast
        self.is_async = task.is_async

    @property
    def function(self) -> Callable[..., Any]:
        return self._call_async if self.is_async else self._call

    def taken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._task.taken(arguments)

    def _call(self, **arguments: Any) -> Any:
        call = self._cast.begin_call(self._task.name, arguments)
        try:
            output = self._answer(arguments)
        except BaseException as error:
            self._cast.end_call(replace(call, error=error))
            raise
        self._cast.end_call(replace(call, output=output))
        return output

    async def _call_async(self, **arguments: Any) -> Any:
        call = self._cast.begin_call(self._task.name, arguments)
        try:
            answer = self._answer(arguments)
            output = await answer if inspect.isawaitable(answer) else answer
        except BaseException as error:
            self._cast.end_call(replace(call, error=error))
            raise
        self._cast.end_call(replace(call, output=output))
        return output

    def _answer(self, arguments: Mapping[str, Any]) -> Any:
        stub = TURN.get().answer
        if stub is None:
            return self._task.function(**arguments)
        # What the function would not take, its stub does not take either.
        self._task.bind(**arguments)
        return stub(**arguments)
