"""The executors of one I/O process: hands works to them and reports what became of each, exactly once.

Every work that was submitted ends in one call of ``on_outcomes`` or of ``on_lost``. Everything runs on one
event loop and one thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskmesh.clock import Clock
from taskmesh.worker.channels.child import RestartDelay
from taskmesh.worker.channels.protocol import Failure, Kind, Outcome, Work
from taskmesh.worker.executors.invoke import MAX_OUTPUT_BYTES
from taskmesh.worker.executors.pace import Pace, share_out
from taskmesh.worker.executors.process import ExecutorEvents, ExecutorProcess, ExecutorSettings, Lane

MAX_ARGUMENT_BYTES = MAX_OUTPUT_BYTES
WATCH_SECONDS = 0.025
STOP_SECONDS = 2.0

MAX_START_FAILURES = 3
"""So many executors may die while they import the app, before any was ready, until the app is given up."""

STUCK_REASON = "the executor is held by native code that does not let other threads run"
STOPPED_REASON = "the worker stopped"
UNSTARTED_REASON = "no executor had room for it"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolEvents:
    """What a pool calls, always on its loop.

    ``on_started(id)`` comes for works that are timed, ``on_beats([(id, checkpoint), ...])`` for those that give signs.
    ``on_lost(started, waiting, reason)``: ``started`` may have begun and may count as crashed, ``waiting`` have not.
    """

    on_started: Callable[[int], None]
    on_beats: Callable[[Sequence[tuple[int, bytes]]], None]
    on_outcomes: Callable[[Sequence[Outcome]], None]
    on_lost: Callable[[Sequence[int], Sequence[int], str], None]
    on_ready: Callable[[], None]
    on_fatal: Callable[[str], None]


class ExecutorPool:
    """Feeds ``settings.count`` executor processes and replaces those that die. Create it on the running loop."""

    def __init__(self, settings: ExecutorSettings, events: PoolEvents, clock: Clock) -> None:
        self._settings = settings
        self._events = events
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._executors: dict[int, ExecutorProcess] = {}
        self._delays = [RestartDelay() for _ in range(settings.count)]
        self._restarts: dict[int, asyncio.TimerHandle] = {}
        self._lanes: dict[str, Lane] = {}
        self._unsorted: list[Work] = []
        self._backlog: dict[Lane, deque[Work]] = {lane: deque() for lane in Lane}
        self._start_failures = 0
        self._watching: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._winding_down = False
        self._stopping = False
        self.deaths = 0

    @property
    def ready_count(self) -> int:
        """Executors that have imported the app; ``settings.count`` when all is well."""
        return sum(executor.ready for executor in self._executors.values())

    @property
    def tasks(self) -> frozenset[str]:
        """The names that can be run; empty until the first executor is ready."""
        return frozenset(self._lanes)

    @property
    def in_flight(self) -> int:
        """Works that were submitted and not reported yet."""
        held = sum(executor.load(lane) for executor in self._executors.values() for lane in Lane)
        return held + len(self._unsorted) + sum(map(len, self._backlog.values()))

    @property
    def window(self) -> int:
        """How many works the pool wants to have in flight now."""
        lanes = set(self._lanes.values())
        return sum(executor.wanted(lane) for executor in self._executors.values() for lane in lanes)

    @property
    def capacity(self) -> int:
        """How many more works the pool wants now; more may be submitted, and wait here."""
        return max(0, self.window - self.in_flight)

    def start(self) -> None:
        for place in range(self._settings.count):
            self._spawn(place)

    def submit(self, works: Sequence[Work]) -> None:
        """Run works as soon as there is room. Ids are the caller's; each must be unique among those in flight."""
        refused = [work for work in works if len(work.arguments) > MAX_ARGUMENT_BYTES]
        if refused:
            works = [work for work in works if len(work.arguments) <= MAX_ARGUMENT_BYTES]
            self._loop.call_soon(self._events.on_outcomes, [self._refusal(work) for work in refused])
        if works:
            self._idle.clear()
            self._unsorted.extend(works)
            if self._winding_down:
                self._loop.call_soon(self.give_back)
            else:
                self._feed()

    def kill(self, work_id: int) -> bool:
        """Kill the executor that holds a work; False when none does. ``on_lost`` follows."""
        for executor in self._executors.values():
            if executor.holds(work_id):
                executor.child.kill()
                return True
        return False

    @property
    def oldest_waiting(self) -> int | None:
        """The id of the work that has waited longest for an executor, where one waits."""
        return min((works[0].id for works in (*self._backlog.values(), self._unsorted) if works), default=None)

    def give_back(self) -> None:
        """Report what no executor has got as lost before it began."""
        self._sort()
        waiting = [work.id for backlog in self._backlog.values() for work in backlog]
        for backlog in self._backlog.values():
            backlog.clear()
        self._lose([], waiting, UNSTARTED_REASON)

    def wind_down(self) -> None:
        """Start nothing more: what waits is reported as lost before it began, and executors give back what they hold.

        They do so when a task runs long; what waits behind short ones is run.
        """
        self._winding_down = True
        self.give_back()

    def take_over(self, settings: Mapping[str, Any]) -> None:
        """Tell the executors, and those that replace them, how the settings of ``ExecutorSettings`` are now."""
        self._settings = replace(self._settings, settings=settings)
        for executor in self._executors.values():
            executor.child.send((Kind.SETTINGS, settings))

    def cancel(self, work_id: int) -> None:
        """Let a work that gives heartbeats know that it should end."""
        for executor in self._executors.values():
            if executor.holds(work_id):
                executor.child.send((Kind.CANCEL, work_id))

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until every work is reported; False when the time was over first."""
        self._tell_idle()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """End the executors, by force after the grace; what is in flight then is reported as lost."""
        self._stopping = True
        for restart in self._restarts.values():
            restart.cancel()
        executors = list(self._executors.values())
        for executor in executors:
            executor.child.send((Kind.STOP, None))
        await asyncio.gather(*(executor.child.end(grace_seconds) for executor in executors))
        self.give_back()
        self._tell_idle()

    def _spawn(self, place: int) -> None:
        self._restarts.pop(place, None)
        events = ExecutorEvents(
            self._on_ready,
            self._on_unfit,
            self._events.on_started,
            self._events.on_beats,
            self._on_outcomes,
            self._on_given_back,
            self._on_exit,
        )
        try:
            self._executors[place] = ExecutorProcess(self._settings, place, events, self._pace, self._clock)
        except OSError as error:
            _log.error("an executor process cannot be started: %s", error)
            self._spawn_later(place, lived_seconds=0.0)

    def _spawn_later(self, place: int, lived_seconds: float) -> None:
        if not self._stopping:
            delay_seconds = self._delays[place].after(lived_seconds)
            self._restarts[place] = self._loop.call_later(delay_seconds, self._spawn, place)

    def _feed(self) -> None:
        """Hand out as much of the backlog as the executors have room for."""
        if self._winding_down:
            self.give_back()
            self._watch_waiting()
        if self._stopping or self._winding_down or not self._lanes:
            return
        self._sort()
        for lane, backlog in self._backlog.items():
            if backlog:
                self._feed_lane(lane, backlog)
        self._watch_waiting()

    def _feed_lane(self, lane: Lane, backlog: deque[Work]) -> None:
        executors = list(self._executors.values())
        held = [executor.load(lane) for executor in executors]
        windows = [executor.window(lane) for executor in executors]
        for executor, share in zip(executors, share_out(len(backlog), held, windows), strict=True):
            if share:
                executor.send(lane, [backlog.popleft() for _ in range(share)])

    def _sort(self) -> None:
        for work in self._unsorted:
            # An unknown task goes where any is taken: the executor answers with a sentence.
            self._backlog[self._lanes.get(work.task, Lane.SYNC)].append(work)
        self._unsorted.clear()

    def _watch_waiting(self) -> None:
        needed = any(executor.has_waiting or executor.recalling for executor in self._executors.values())
        if needed and self._watching is None:
            self._watching = self._loop.call_later(WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        self._watching = None
        for executor in list(self._executors.values()):
            executor.recall_if_stalled()
            if stuck := executor.take_from_stuck():
                self._lose([], [work.id for work in stuck], STUCK_REASON)
        self._watch_waiting()

    def _on_ready(self, executor: ExecutorProcess, tasks: Mapping[str, bool]) -> None:
        self._lanes = {name: Lane.ASYNC if is_async else Lane.SYNC for name, is_async in tasks.items()}
        self._feed()
        self._events.on_ready()

    def _on_unfit(self, executor: ExecutorProcess, sentence: str) -> None:
        if self._lanes:
            _log.error("a replaced executor cannot load the app any more: %s", sentence)
        else:
            self._give_up(sentence)

    def _on_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self._feed()
        self._events.on_outcomes(outcomes)
        self._tell_idle()

    def _on_given_back(self, works: Sequence[Work]) -> None:
        self._backlog[Lane.SYNC].extendleft(reversed(works))
        self._feed()

    def _on_exit(self, executor: ExecutorProcess, reason: str) -> None:
        del self._executors[executor.place]
        # These have not started, so another executor can take them under the same lease.
        self._backlog[Lane.SYNC].extendleft(reversed(executor.take_waiting()))
        if not self._stopping:
            self._note_death(executor, reason)
            self._spawn_later(executor.place, self._clock.monotonic() - executor.started_at)
        self._feed()
        self._lose(executor.possibly_started(), [], STOPPED_REASON if self._stopping else reason)

    def _note_death(self, executor: ExecutorProcess, reason: str) -> None:
        self.deaths += 1
        _log.warning("executor %d is replaced: %s", executor.child.pid, reason)
        if not self._lanes:
            self._start_failures += 1
            if self._start_failures >= MAX_START_FAILURES:
                self._give_up(f"the executors die while they import {', '.join(self._settings.apps)}: {reason}")

    def _give_up(self, sentence: str) -> None:
        if not self._stopping:
            self._stopping = True
            self._events.on_fatal(sentence)

    def _lose(self, started: Sequence[int], waiting: Sequence[int], reason: str) -> None:
        if started or waiting:
            self._events.on_lost(started, waiting, reason)
            self._tell_idle()

    def _tell_idle(self) -> None:
        if not self.in_flight:
            self._idle.set()

    def _refusal(self, work: Work) -> Outcome:
        sentence = f"the arguments are {len(work.arguments)} bytes; at most {MAX_ARGUMENT_BYTES} can be handed over"
        failure = Failure("taskmesh.errors.TooLargeError", sentence, "")
        return Outcome(work.id, b"", failure, self._clock.now(), 0.0)
