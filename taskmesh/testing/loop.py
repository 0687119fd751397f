"""An event loop whose time stands still while anything is ready, or runs, and then goes where it is told to."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from taskmesh.testing.actors import ActorLoop

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

TICK_SECONDS = 1e-6
"""What is less than this apart is due at the same time; and each question for the time finds it so much later."""

_IS_APPOINTMENT: contextvars.ContextVar[bool] = contextvars.ContextVar("is_appointment", default=False)


class Pace(Protocol):
    """Who says when the loop goes on. Both are called on its thread."""

    def hold(self) -> None:
        """Returns when the loop may go on."""

    def rest(self, next_timer: float | None) -> float | None:
        """Nothing is ready before ``next_timer``: move the time, or say how many real seconds to wait for others."""


class VirtualLoop(ActorLoop):
    """Calls beside the loop are made at once; timers are kept by the virtual time."""

    def __init__(self, now: float, pace: Pace) -> None:
        self._now = now
        self._appointments: list[asyncio.TimerHandle] = []
        super().__init__(_Gate(self, pace))
        # What is due at this very moment is called; asyncio's own is so fine that no sum of epoch seconds is past it.
        self._clock_resolution = TICK_SECONDS

    def time(self) -> float:
        return self._now

    def tick(self) -> float:
        """A moment later than all before, so that the order of what happens can be told from its times."""
        self._now += TICK_SECONDS
        return self._now

    def move_to(self, moment: float) -> None:
        self._now = max(self._now, moment)

    def next_appointment(self) -> float | None:
        """The first timer that was set in the context of ``by_appointment`` and has not rung."""
        self._appointments = [each for each in self._appointments if not each.cancelled() and each.when() > self._now]
        return min((each.when() for each in self._appointments), default=None)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        context = contextvars.copy_context() if context is None else context
        handle = super().call_at(when, callback, *args, context=context)
        if context.get(_IS_APPOINTMENT, False):
            self._appointments.append(handle)
        return handle

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], Answer], *args: *Arguments
    ) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = self.create_future()
        try:
            answer.set_result(func(*args))
        except Exception as error:
            answer.set_exception(error)
        return answer


def by_appointment(callback: Callable[..., object], *args: Any) -> None:
    """Call something whose timers matter: the time moves to them where nothing comes before.

    All others (looks, renewals, reports) are kept by the way.
    """
    contextvars.copy_context().run(_call_by_appointment, callback, args)


def _call_by_appointment(callback: Callable[..., object], args: tuple[Any, ...]) -> None:
    _IS_APPOINTMENT.set(True)
    callback(*args)


class _Gate(selectors.BaseSelector):
    """The loop's only place to wait, so here it is held, and its time moved on."""

    def __init__(self, loop: VirtualLoop, pace: Pace) -> None:
        self._loop = loop
        self._pace = pace
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._pace.hold()
        found = self._real.select(0)
        if found or timeout == 0:
            return found
        return self._real.select(self._pace.rest(None if timeout is None else self._loop.time() + timeout))
