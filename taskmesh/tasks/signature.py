"""The parameters of a task's function, prepared so that binding a call costs almost nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.model.problems import Hints

_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "*{name} cannot be filled, as arguments travel by name; take a list instead",
    inspect.Parameter.POSITIONAL_ONLY: "{name} is positional-only, but arguments travel by name; remove the /",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a task can be called with. ``positional`` are the names that may be given by position, in order."""

    task: str
    positional: tuple[str, ...]
    required: frozenset[str]
    names: tuple[str, ...]
    known: frozenset[str]
    accepts_any: bool

    @classmethod
    def of(cls, function: Callable[..., Any], task: str) -> Signature:
        """:raises UsageError: for a function whose parameters cannot all be given by name."""
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            if parameter.kind in _REFUSED:
                fault = _REFUSED[parameter.kind].format(name=parameter.name)
                raise UsageError(f"{task!r} cannot be registered: its parameter {fault}")
        named = [each for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]
        return cls(
            task=task,
            positional=tuple(each.name for each in named if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD),
            required=frozenset(each.name for each in named if each.default is inspect.Parameter.empty),
            names=tuple(each.name for each in named),
            known=frozenset(each.name for each in named),
            accepts_any=len(named) < len(parameters),
        )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name. Defaults are left to the function, where it runs.

        :raises UsageError: for arguments that the function would not take.
        """
        bound = dict(zip(self.positional, args, strict=False))
        bound.update(kwargs)
        if len(bound) < len(args) + len(kwargs):
            raise UsageError(self._surplus(args, kwargs))
        if bound.keys() == self.known:
            return bound
        if not self.required <= bound.keys():
            missing = [name for name in self.names if name in self.required and name not in bound]
            raise UsageError(f"task {self.task!r} is missing the argument(s) {', '.join(map(repr, missing))}")
        if not self.accepts_any and not bound.keys() <= self.known:
            raise UsageError(self._unknown(bound))
        return bound

    def free(self, arguments: Mapping[str, Any]) -> list[str]:
        """The first parameter that ``arguments`` does not give, alone in a list.

        :raises UsageError: there is none.
        """
        free = [name for name in self.names if name not in arguments][:1]
        if not free:
            raise UsageError(f"task {self.task!r} has no parameter left that could get the item")
        return free

    def _surplus(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        if len(args) > len(self.positional):
            return f"task {self.task!r} takes {len(self.positional)} arguments by position, but got {len(args)}"
        twice = [name for name in self.positional[: len(args)] if name in kwargs]
        return f"task {self.task!r} got the argument {twice[0]!r} twice, by position and by name"

    def _unknown(self, bound: Mapping[str, Any]) -> str:
        name = next(name for name in bound if name not in self.known)
        return f"task {self.task!r} takes no argument {name!r}{Hints(self.names).did_you_mean(name)}"
