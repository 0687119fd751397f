"""An event loop on virtual time, and the actors on it: each can be killed, or held still while the others go on."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack

from taskmesh.testing import actors
from taskmesh.testing.actors import ACTOR, ActorLoop

ASIDE_SECONDS = 0.001
"""How long the answer to a call beside the loop takes at least."""

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


class KilledError(BaseException):
    """Unwinds the code of an actor that has just died; nothing in the product may catch it."""


class DeadlockError(Exception):
    """Nothing is left that could ever happen."""


class Actor(actors.Actor):
    """A simulated process that can be cut off, and whose code can die anywhere."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.alone_until = 0.0
        """Until then no server can be reached from here."""
        self.is_aside = False
        """It makes a call beside its loop just now."""
        self.aside_seconds = 0.0
        """How long the answer to such a call takes; waiting for it holds up nothing else."""

    def run(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            super().run(callback, args)
        except KilledError:
            pass

    def check_alive(self) -> None:
        """:raises KilledError: the code of a dead actor must go no further."""
        if self.is_dead:
            raise KilledError(self.name)


class SimLoop(ActorLoop):
    """Time stands still while anything is ready, and then jumps to the next timer."""

    def __init__(self, now: float) -> None:
        self._now = now
        super().__init__(_Jump(self))
        self._outside = contextvars.Context()

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], Answer], *args: *Arguments
    ) -> asyncio.Future[Answer]:
        """A call beside the loop: it is carried out at once, and its answer comes later."""
        actor = ACTOR.get()
        assert isinstance(actor, Actor)
        answer: asyncio.Future[Answer] = self.create_future()
        actor.is_aside, actor.aside_seconds = True, ASIDE_SECONDS
        try:
            tell = partial(answer.set_result, func(*args))
        except Exception as error:
            tell = partial(answer.set_exception, error)
        finally:
            actor.is_aside = False
        self.call_later(actor.aside_seconds, _unless_cancelled, answer, tell)
        return answer

    def outside(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Call something that belongs to no actor: the network, the servers, fate."""
        self.call_later(seconds, callback, *args, context=self._outside)


def _unless_cancelled(answer: asyncio.Future[Answer], tell: Callable[[], None]) -> None:
    if not answer.cancelled():
        tell()


class _Jump(selectors.BaseSelector):
    """Waits for no file: whoever asks it to wait gets the time moved on instead."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("nothing can happen any more")
        if timeout > 0:
            self._loop.advance(timeout)
        return []
