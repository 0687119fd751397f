"""An event loop on virtual time, and the actors on it: each can be killed, or held still while the others go on."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, Unpack

ASIDE_SECONDS = 0.001
"""How long the answer to a call beside the loop takes at least."""

Context = contextvars.Context
Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

_ACTOR: contextvars.ContextVar[Actor | None] = contextvars.ContextVar("actor", default=None)


class KilledError(BaseException):
    """Unwinds the code of an actor that has just died; nothing in the product may catch it."""


class DeadlockError(Exception):
    """Nothing is left that could ever happen."""


class Actor:
    """A simulated process: whatever is called in its context, or follows from that, belongs to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.alone_until = 0.0
        """Until then no server can be reached from here."""
        self.is_aside = False
        """It makes a call beside its loop just now."""
        self.aside_seconds = 0.0
        """How long the answer to such a call takes; waiting for it holds up nothing else."""
        self.context = contextvars.Context()
        self.context.run(_ACTOR.set, self)
        self._holds = 0
        self._waiting: list[_Call] = []

    @property
    def is_held(self) -> bool:
        return self._holds > 0

    def hold(self) -> None:
        """Keep its timers and inputs back from now on."""
        self._holds += 1

    def let_go(self) -> None:
        """Take one hold away; with the last, everything that was kept back happens now, in its order."""
        self._holds -= 1
        if self._holds:
            return
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.repeat()

    def kill(self) -> None:
        """Whatever it had to do is never done; what it has in memory is gone."""
        self.is_dead = True
        self._waiting.clear()

    def keep_back(self, call: _Call) -> None:
        self._waiting.append(call)

    def check_alive(self) -> None:
        """:raises KilledError: the code of a dead actor must go no further."""
        if self.is_dead:
            raise KilledError(self.name)


class _Call:
    """A callback of an actor, as the loop sees it."""

    __slots__ = ("_actor", "_args", "_callback", "_context", "_loop", "handle")

    def __init__(
        self, loop: SimLoop, actor: Actor, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self._loop = loop
        self._actor = actor
        self._callback = callback
        self._args = args
        self._context = context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self._actor.is_dead or (self.handle is not None and self.handle.cancelled()):
            return
        if self._actor.is_held:
            self._actor.keep_back(self)
            return
        try:
            self._callback(*self._args)
        except KilledError:
            pass

    def repeat(self) -> None:
        self._loop.call_soon_raw(self, self._context)


class SimLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything is ready, and then jumps to the next timer."""

    def __init__(self, now: float) -> None:
        self._now = now
        super().__init__(_Jump(self))
        self._outside = contextvars.Context()
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)

    def close(self) -> None:
        # What dead actors had begun is never gone on with.
        for task in self._tasks:
            coroutine = task.get_coro()
            if coroutine is not None:
                coroutine.close()
        super().close()

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def call_soon(
        self, callback: Callable[[Unpack[Arguments]], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        actor = context.get(_ACTOR)
        if actor is None:
            return super().call_soon(callback, *args, context=context)
        call = _Call(self, actor, callback, args, context)
        call.handle = super().call_soon(call, context=context)
        return call.handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context
        actor = context.get(_ACTOR)
        if actor is None:
            return super().call_at(when, callback, *args, context=context)
        call = _Call(self, actor, callback, args, context)
        handle = super().call_at(when, call, context=context)
        call.handle = handle
        return handle

    def call_soon_raw(self, call: _Call, context: Context) -> None:
        super().call_soon(call, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], Answer], *args: *Arguments
    ) -> asyncio.Future[Answer]:
        """A call beside the loop: it is carried out at once, and its answer comes later."""
        actor = _ACTOR.get()
        assert actor is not None
        answer: asyncio.Future[Answer] = self.create_future()
        actor.is_aside, actor.aside_seconds = True, ASIDE_SECONDS
        try:
            tell = partial(answer.set_result, func(*args))
        except Exception as error:
            tell = partial(answer.set_exception, error)
        finally:
            actor.is_aside = False
        self.call_later(actor.aside_seconds, tell)
        return answer

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        # Kept: the coroutine of a dead actor is not to be unwound before the play is over.
        self._tasks.append(asyncio.Task(coroutine, loop=loop, **options))
        return self._tasks[-1]

    def outside(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Call something that belongs to no actor: the network, the servers, fate."""
        self.call_later(seconds, callback, *args, context=self._outside)

    def inside(self, actor: Actor, callback: Callable[..., object], *args: Any) -> None:
        """Have an actor find something on its sockets."""
        self.call_soon(callback, *args, context=actor.context)


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
