"""What stands in a flow's function for values that only a run will have."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from taskmesh.errors import UsageError
from taskmesh.model.hook_references import ENDED

if TYPE_CHECKING:
    from taskmesh.tasks.trace import Trace

_UNFIT_FOR_KEYS = re.compile(r"[.${}]|^$")


def _refused(use: str) -> Callable[..., NoReturn]:
    def refuse(self: Placeholder, *_: object) -> NoReturn:
        raise UsageError(f"{self!r} has no value while the flow is traced, so it cannot be {use}; do that in a task")

    return refuse


class Placeholder:
    """Stands for a value that only a run will have. It can be passed to tasks; ``[key]`` refers to a part of it."""

    __slots__ = ("_keys", "_trace")

    def __init__(self, trace: Trace, keys: tuple[str, ...] = ()) -> None:
        self._trace = trace
        self._keys = keys

    def _root(self) -> str:
        raise NotImplementedError

    def _with_keys(self, keys: tuple[str, ...]) -> Placeholder:
        """The same with other keys; for kinds that are made of these two alone."""
        return type(self)(self._trace, keys)

    def __getitem__(self, key: object) -> Any:
        """Refer to an entry of an object, or to a position of a list."""
        if not isinstance(key, str | int) or isinstance(key, bool) or _UNFIT_FOR_KEYS.search(str(key)):
            raise UsageError(f"{self!r} cannot be indexed with {key!r}: use a number, or a text without . $ {{ }}")
        return self._with_keys((*self._keys, str(key)))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UsageError(f'{self!r} has no attribute {name!r}; for an entry of its value write ["{name}"]')

    def __repr__(self) -> str:
        return f"<placeholder ${{{'.'.join((self._root(), *self._keys))}}}>"

    # Where Python would go on with something else than the value, such as the truth of an object that is always true.
    __bool__ = _refused("tested (if, while, and, or, not)")
    __iter__ = __len__ = __contains__ = __reversed__ = _refused("looped over or counted")
    __str__ = __format__ = _refused("made into text")
    __int__ = __float__ = __index__ = _refused("made into a number")
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refused("compared")
    __hash__ = _refused("a key or a member of a set")
    __call__ = _refused("called")
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refused("calculated with")
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __rmod__ = __pow__ = _refused("calculated with")
    __neg__ = __abs__ = __invert__ = __and__ = __or__ = __rshift__ = __lshift__ = _refused("calculated with")


class EndHandle(Placeholder):
    """How that has ended which a hook observes; for arguments of hooks."""

    __slots__ = ()

    def _root(self) -> str:
        return ENDED


class ParamHandle(Placeholder):
    """A parameter of the flow that is being traced."""

    __slots__ = ("_name",)

    def __init__(self, trace: Trace, name: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(trace, keys)
        self._name = name

    def _root(self) -> str:
        return f"params.{self._name}"

    def _with_keys(self, keys: tuple[str, ...]) -> ParamHandle:
        return ParamHandle(self._trace, self._name, keys)
