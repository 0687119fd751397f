"""The time of a virtual mesh, and the thread on which everything in it happens.

Nothing happens while nobody waits. Whoever waits asks for one of two things: that all happens which can happen now, or
that the time moves on, to the next moment at which anything is due. Both are done when no task runs and nothing is
ready any more; so each test sees its mesh at rest, and sees the same each time.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from taskmesh.clock import SystemClock
from taskmesh.errors import UsageError
from taskmesh.testing.actors import Actor
from taskmesh.testing.errors import PatienceError, StandstillError
from taskmesh.testing.loop import VirtualLoop
from taskmesh.worker.executors.invoke import current

RESTLESS_SECONDS = 120.0
"""What is on its way and does not get on, as after a lost message, is given so much virtual time of looks by the
keeper; then it waits for something else, as for a worker of its pool."""

LOOKS = 3
"""So many looks for what was missed, in a wait, before nothing is expected of them any more."""

END_SECONDS = 10.0


class Outlook(NamedTuple):
    """What the store knows of the future: when anything is due next, and what is on its way there.

    ``look_at`` is when somebody looks next whether he has missed something.
    """

    next_at: float
    on_its_way: tuple[object, ...]
    look_at: float = math.inf


class Surroundings(Protocol):
    """What the time is moved on for. Called on the world's thread, while nothing else happens."""

    def outlook(self) -> Outlook: ...

    def before_jump(self, seconds: float) -> None:
        """The time is about to move on so far, past the looks and renewals on the way."""

    def running(self, blocked: int) -> Sequence[str]:
        """The tasks that run, by their names; so many of them wait for something in the mesh."""

    def waits(self) -> str:
        """What unfinished runs wait for."""


@dataclass(eq=False)
class _Request:
    """Somebody waits: until all is at rest, and before that for the time to move on, up to ``limit``.

    It does not move on where anything has happened since ``seen``: perhaps that is what he waits for.
    """

    limit: float | None
    seen: int
    gives_up_at: float
    task: str
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class World:
    """Runs the loop, and moves its time. To be asked from any thread but its own."""

    def __init__(self, start: float, patience_seconds: float) -> None:
        self._loop = VirtualLoop(start, self)
        self._patience_seconds = patience_seconds
        self._wall = SystemClock()
        self._room = threading.Condition()
        self._requests: list[_Request] = []
        self._surroundings: Surroundings | None = None
        self._happenings = 0
        """How often something came from outside, or the time moved on."""
        self._is_closing = False
        self._fault: BaseException | None = None
        self._on_its_way: tuple[object, ...] = ()
        self._restless_since = -math.inf
        self._looks_left = LOOKS
        self._loop.set_exception_handler(self._note_fault)
        self._thread = threading.Thread(target=self._run, name="taskmesh-virtual-mesh", daemon=True)

    @property
    def loop(self) -> VirtualLoop:
        return self._loop

    def now(self) -> float:
        return self._loop.time()

    def begin(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._thread.start()

    def close(self) -> None:
        """End the thread. What had begun is never gone on with."""
        with self._room:
            self._is_closing = True
            self._room.notify_all()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(END_SECONDS)
        self._loop.close()

    def call(self, callback: Callable[..., object], *args: Any) -> None:
        """Have something happen that belongs to no actor, with what happens next; nothing once the world is closed."""
        with self._room:
            if not self._is_closing:
                self._happenings += 1
                self._loop.call_soon_threadsafe(callback, *args, context=contextvars.Context())

    def call_in(self, actor: Actor, callback: Callable[..., object], *args: Any) -> None:
        """Have something happen in an actor, with what happens next."""
        self.call(self._loop.inside, actor, callback, *args)

    def settle(self) -> int:
        """Wait until all has happened that can happen without the time moving on; returns how much has happened."""
        return self._ask(None, 0)

    def leap(self, limit: float, seen: int) -> int:
        """Move the time on, once, to the next moment at which anything is due, or to the limit; and settle.

        Where something has happened since ``seen`` the time stays.

        :raises StandstillError: nothing will ever happen any more.
        """
        return self._ask(limit, seen)

    def wait(self, is_over: Callable[[], bool], until: float = math.inf) -> bool:
        """Move the time on until something is so; False when it is not by the time ``until``.

        :raises StandstillError: it never will be. :raises PatienceError: it takes too long by the clock on the wall.
        """
        gives_up_at = self._wall.monotonic() + self._patience_seconds
        seen = self.settle()
        self._looks_left = LOOKS
        while not is_over():
            if self.now() >= until:
                return False
            if self._wall.monotonic() > gives_up_at:
                raise PatienceError(f"{self._impatient()}: the time has moved on to {self.now():.3f}, and on and on")
            seen = self.leap(until, seen)
        return True

    def _ask(self, limit: float | None, seen: int) -> int:
        if threading.current_thread() is self._thread:
            raise UsageError("what the virtual mesh calls itself cannot wait for it")
        gives_up_at = self._wall.monotonic() + self._patience_seconds
        request = _Request(limit, seen, gives_up_at, _task_here())
        with self._room:
            if self._is_closing:
                raise UsageError("the virtual mesh is closed")
            self._requests.append(request)
            self._room.notify_all()
        if request.task:
            # The loop may be waiting for the very task that asks.
            self._loop.call_soon_threadsafe(_nothing)
        request.done.wait()
        if request.error is not None:
            raise request.error
        return request.seen

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._release(self._requests, UsageError("the virtual mesh is closed"))

    # What the loop asks; on its thread.

    def hold(self) -> None:
        with self._room:
            self._room.wait_for(lambda: bool(self._requests) or self._is_closing)

    def rest(self, next_timer: float | None) -> float | None:
        if self._is_closing or self._surroundings is None:
            return 0
        requests = list(self._requests)
        try:
            return self._serve(requests, self._surroundings, next_timer)
        except Exception as error:
            # Whoever waits must hear of it; the loop itself goes on.
            self._release(requests, error)
            return 0

    def _serve(self, requests: Sequence[_Request], around: Surroundings, next_timer: float | None) -> float:
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        # A task that waits itself holds up nobody.
        blocked = len({each.task for each in requests if each.task})
        running = around.running(blocked)
        if len(running) > blocked:
            return self._bear(requests, running)
        at_rest = [each for each in requests if each.limit is None or each.seen != self._happenings]
        if at_rest:
            self._release(at_rest)
        else:
            self._move(requests, around, next_timer)
        return 0

    def _bear(self, requests: Sequence[_Request], running: Sequence[str]) -> float:
        """How long to wait for tasks that run, by the clock on the wall."""
        left = min(each.gives_up_at for each in requests) - self._wall.monotonic()
        if left <= 0:
            raise PatienceError(f"{self._impatient()}: these tasks still run: {', '.join(sorted(running))}")
        return left

    def _move(self, requests: Sequence[_Request], around: Surroundings, next_timer: float | None) -> None:
        limit = min(each.limit for each in requests if each.limit is not None)
        to = min(self._next_moment(around.outlook(), next_timer), limit)
        if to == math.inf:
            raise StandstillError(around.waits())
        if to > self.now():
            around.before_jump(to - self.now())
        self._happenings += 1
        self._loop.move_to(to)
        for each in requests:
            each.limit = None

    def _next_moment(self, outlook: Outlook, next_timer: float | None) -> float:
        appointment = self._loop.next_appointment()
        due_at = outlook.next_at if appointment is None else min(outlook.next_at, appointment)
        if next_timer is not None and (due_at <= self.now() or self._is_restless(outlook)):
            return next_timer
        return self._look_moment(outlook) if due_at == math.inf else due_at

    def _look_moment(self, outlook: Outlook) -> float:
        """With nothing due, somebody may have missed what he waits for; a few looks show that."""
        if outlook.look_at == math.inf or not self._looks_left:
            return math.inf
        self._looks_left -= 1
        return outlook.look_at

    def _is_restless(self, outlook: Outlook) -> bool:
        """Whether looks by the keeper and the workers may bring something on."""
        if outlook.on_its_way != self._on_its_way:
            self._on_its_way, self._restless_since = outlook.on_its_way, self.now()
        return bool(outlook.on_its_way) and self.now() - self._restless_since < RESTLESS_SECONDS

    def _release(self, requests: Sequence[_Request], error: BaseException | None = None) -> None:
        with self._room:
            self._requests = [each for each in self._requests if each not in requests]
            for each in requests:
                each.seen = self._happenings
        for each in requests:
            each.error = error
            each.done.set()

    def _note_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and not self._is_closing:
            self._fault = error

    def _impatient(self) -> str:
        return f"the test has waited for {self._patience_seconds:g} s by the clock on the wall"


def _task_here() -> str:
    """The attempt that is running here; empty outside of tasks."""
    try:
        task = current()
    except UsageError:
        return ""
    return f"{task.idempotency_key}/{task.attempt}"


def _nothing() -> None:
    """Wakes the loop."""
