"""What tasks were called with, what stands in for them, and what befalls who runs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Error: TypeAlias = BaseException | type[BaseException]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a task's function, or of what stood in for it.

    ``arguments`` are by name, without defaults; ``attempt`` counts from 1; ``at`` is in epoch seconds of the mesh's
    clock. ``error`` is what was raised, and ``output`` is None then. ``is_stubbed`` says that the function did not run.
    """

    task: str
    run_id: str
    node: str
    attempt: int
    arguments: Mapping[str, Any]
    at: float
    output: Any = None
    error: BaseException | None = None
    is_stubbed: bool = False


class _RunIt:
    """Says that the task's own function is to run."""


RUN_IT = _RunIt()


@dataclass(frozen=True, slots=True)
class Part:
    """What a stub does: see ``VirtualMesh.stub``."""

    returns: Any = RUN_IT
    raises: Sequence[Error] = ()
    raises_always: bool = False
    side_effect: Callable[..., Any] | None = None
    takes_seconds: float = 0.0

    def answer(self, number: int) -> Callable[..., Any] | None:
        """What is called in place of the function at a call of this number, from 0; None: the function itself."""
        error = self._error(number)
        if error is not None:
            return lambda **_: _raise(error)
        if self.side_effect is not None:
            return self.side_effect
        if self.returns is not RUN_IT:
            return lambda **_: self.returns
        return None

    def _error(self, number: int) -> Error | None:
        if self.raises_always:
            return self.raises[0]
        return self.raises[number] if number < len(self.raises) else None


class Stub:
    """Stands in for a task until its block ends, or the test. ``calls`` are those that it has answered."""

    def __init__(
        self, task: str, node: str | None, part: Part, times: int | None, remove: Callable[[Stub], None]
    ) -> None:
        self.task = task
        self.node = node
        self.calls: list[Call] = []
        self._part = part
        self._left = times
        self._given = 0
        self._remove = remove

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove(self)

    def is_for(self, task: str, node: str) -> bool:
        return task == self.task and self.node in (None, node)

    def take_turn(self) -> Turn | None:
        """What happens at the next call; None where it has answered as often as it should."""
        if self._left is not None and self._given >= self._left:
            return None
        number, self._given = self._given, self._given + 1
        return Turn(self._part.answer(number), self._part.takes_seconds, self)

    def __repr__(self) -> str:
        return f"<stub of {self.task!r}, called {len(self.calls)} times>"


@dataclass(frozen=True, slots=True)
class Turn:
    """How one attempt goes: what is called (None: the task's own function), after how many virtual seconds."""

    answer: Callable[..., Any] | None = None
    takes_seconds: float = 0.0
    stub: Stub | None = None


PLAIN = Turn()


def errors_of(raises: Error | Sequence[Error] | None) -> tuple[tuple[Error, ...], bool]:
    """The errors, and whether the only one is meant for each call."""
    if raises is None:
        return (), False
    if isinstance(raises, BaseException) or inspect.isclass(raises):
        return (raises,), True
    return tuple(raises), False


def _raise(error: Error) -> None:
    raise error
