"""Processes that share one event loop: each can be killed, or held still while the others go on."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable
from typing import Any, TypeVarTuple, Unpack

Context = contextvars.Context
Arguments = TypeVarTuple("Arguments")

ACTOR: contextvars.ContextVar[Actor | None] = contextvars.ContextVar("actor", default=None)


class Actor:
    """A simulated process: whatever is called in its context, or follows from that, belongs to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.context = contextvars.Context()
        self.context.run(ACTOR.set, self)
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

    def run(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        callback(*args)


class _Call:
    """A callback of an actor, as the loop sees it."""

    __slots__ = ("_actor", "_args", "_callback", "_context", "_loop", "handle")

    def __init__(
        self, loop: ActorLoop, actor: Actor, callback: Callable[..., object], args: tuple[Any, ...], context: Context
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
        else:
            self._actor.run(self._callback, self._args)

    def repeat(self) -> None:
        self._loop.call_soon_raw(self, self._context)


class ActorLoop(asyncio.SelectorEventLoop):
    """An event loop that asks the actor of each callback whether it may happen."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        super().__init__(selector)
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)

    def close(self) -> None:
        # What dead actors had begun is never gone on with.
        for task in self._tasks:
            coroutine = task.get_coro()
            if coroutine is not None:
                coroutine.close()
        super().close()

    def call_soon(
        self, callback: Callable[[Unpack[Arguments]], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        actor = context.get(ACTOR)
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
        actor = context.get(ACTOR)
        if actor is None:
            return super().call_at(when, callback, *args, context=context)
        call = _Call(self, actor, callback, args, context)
        handle = super().call_at(when, call, context=context)
        call.handle = handle
        return handle

    def call_soon_raw(self, call: _Call, context: Context) -> None:
        super().call_soon(call, context=context)

    def inside(self, actor: Actor, callback: Callable[..., object], *args: Any) -> None:
        """Have an actor find something on its sockets."""
        self.call_soon(callback, *args, context=actor.context)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        # Kept: the coroutine of a dead actor is not to be unwound before all is over.
        self._tasks.append(asyncio.Task(coroutine, loop=loop, **options))
        return self._tasks[-1]
