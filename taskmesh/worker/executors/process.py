"""One executor as its I/O process sees it: the child process and the works that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any

from taskmesh.clock import Clock
from taskmesh.worker.channels.child import Child
from taskmesh.worker.channels.protocol import Kind, Outcome, Work, read_outcome
from taskmesh.worker.executors.pace import Pace

STALLED_SECONDS = 0.05
"""An executor that has ended nothing for so long gives back what waits in it."""

STUCK_SECONDS = 2.0
"""An executor that has not even answered for so long is taken to be held by native code."""

FIRST_ASYNC_WORKS = 4
"""As long as no async work comes, the room for this many more is kept on offer."""

BATCH_BYTES = 1024 * 1024


class Lane(Enum):
    """Sync works wait for a thread, in order; async works all run at once."""

    SYNC = 0
    ASYNC = 1


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How the executors of one I/O process are run.

    ``apps`` are ``module`` or ``module:attribute``; ``memory_mb`` 0 is no limit. ``node_types`` says whether to look
    for any, which is a fifth of what a start takes. ``settings`` are all of the worker's, as
    ``Settings.to_mapping`` describes them; they travel by the channel, as some are secrets.
    """

    apps: tuple[str, ...]
    count: int
    threads: int = 1
    async_slots: int = 100
    max_value_bytes: int = 1_048_576
    memory_mb: int = 0
    node_types: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def arguments(self) -> list[str]:
        named = [item for app in self.apps for item in ("-A", app)]
        limits = ["--max-value-bytes", str(self.max_value_bytes), "--memory-mb", str(self.memory_mb)]
        types = ["--node-types"] if self.node_types else []
        return ["--threads", str(self.threads), *limits, *types, *named]


@dataclass(frozen=True, slots=True)
class ExecutorEvents:
    """What an executor calls, on the loop. ``on_ready`` gets the tasks by name and whether each is async."""

    on_ready: Callable[[ExecutorProcess, Mapping[str, bool]], None]
    on_unfit: Callable[[ExecutorProcess, str], None]
    on_started: Callable[[int], None]
    on_beats: Callable[[Sequence[tuple[int, bytes]]], None]
    on_outcomes: Callable[[Sequence[Outcome]], None]
    on_given_back: Callable[[Sequence[Work]], None]
    on_exit: Callable[[ExecutorProcess, str], None]


class ExecutorProcess:
    """A started executor."""

    def __init__(
        self, settings: ExecutorSettings, place: int, events: ExecutorEvents, pace: Pace, clock: Clock
    ) -> None:
        self._settings = settings
        self._pace = pace
        self._clock = clock
        self._events = events
        self._held: dict[Lane, dict[int, Work]] = {Lane.SYNC: {}, Lane.ASYNC: {}}
        self._recalled_at: float | None = None
        self._stalled = False
        self.place = place
        self.ready = False
        self.started_at = self._progress_at = clock.monotonic()
        self.child = Child("taskmesh.worker.executors.main", settings.arguments(), self._on_messages, self._on_exit)
        self.child.send((Kind.SETTINGS, settings.settings))

    def load(self, lane: Lane) -> int:
        return len(self._held[lane])

    def window(self, lane: Lane) -> int:
        """How many works it may hold now."""
        if not self.ready or self._recalled_at is not None:
            return 0
        if lane is Lane.ASYNC:
            return self._settings.async_slots
        return self._settings.threads + (0 if self._stalled else self._pace.lookahead)

    def wanted(self, lane: Lane) -> int:
        """How many works to claim for it. Async room grows with its use, since sync works cannot take it."""
        window = self.window(lane)
        if lane is Lane.ASYNC:
            return min(window, max(FIRST_ASYNC_WORKS, 2 * self.load(lane)))
        return window

    def holds(self, work_id: int) -> bool:
        return any(work_id in held for held in self._held.values())

    def possibly_started(self) -> list[int]:
        """Works are started in order, so at most the first ``threads`` of those that wait for a thread."""
        return [*islice(self._held[Lane.SYNC], self._settings.threads), *self._held[Lane.ASYNC]]

    @property
    def has_waiting(self) -> bool:
        return len(self._held[Lane.SYNC]) > self._settings.threads

    def send(self, lane: Lane, works: Sequence[Work]) -> None:
        if not self.has_waiting:
            self._progress_at = self._clock.monotonic()
        self._held[lane].update((work.id, work) for work in works)
        for batch in _batches(works):
            self.child.send((Kind.WORK, batch))

    def recall_if_stalled(self) -> None:
        """Ask for what waits behind a task that runs long."""
        if self._recalled_at is None and self.has_waiting and self._silent_for(self._progress_at, STALLED_SECONDS):
            self._recalled_at = self._clock.monotonic()
            self._stalled = True
            self.child.send((Kind.RECALL, None))

    def take_from_stuck(self) -> list[Work]:
        """Forget the works that a recall was not answered for; their outcomes are ignored from now on."""
        if self._recalled_at is None or not self._silent_for(self._recalled_at, STUCK_SECONDS):
            return []
        return self.take_waiting()

    def take_waiting(self) -> list[Work]:
        """Forget the works that have certainly not started."""
        held = self._held[Lane.SYNC]
        return self._forget(list(islice(held.values(), self._settings.threads, None)))

    @property
    def recalling(self) -> bool:
        return self._recalled_at is not None

    def _silent_for(self, since: float, seconds: float) -> bool:
        return self._clock.monotonic() - since >= seconds

    def _forget(self, works: Sequence[Work]) -> list[Work]:
        for work in works:
            del self._held[Lane.SYNC][work.id]
        return list(works)

    def _on_messages(self, messages: list[Any]) -> None:
        outcomes = []
        for kind, payload in messages:
            if kind == Kind.OUTCOME:
                outcomes += self._settle(read_outcome(payload))
            else:
                self._on_control(kind, payload)
        if outcomes:
            self._events.on_outcomes(outcomes)

    def _on_control(self, kind: str, payload: Any) -> None:
        if kind == Kind.READY:
            self.ready = True
            self._events.on_ready(self, payload)
        elif kind == Kind.STARTED:
            self._events.on_started(payload)
        elif kind == Kind.BEATS:
            self._events.on_beats(payload)
        elif kind == Kind.UNFIT:
            self._events.on_unfit(self, payload)
        elif kind == Kind.RECALLED:
            self._recalled_at = None
            held = self._held[Lane.SYNC]
            self._events.on_given_back(self._forget([held[id_] for id_ in payload if id_ in held]))

    def _settle(self, outcome: Outcome) -> list[Outcome]:
        if self._held[Lane.ASYNC].pop(outcome.id, None) is not None:
            return [outcome]
        self._progress_at = self._clock.monotonic()
        self._stalled = False
        self._pace.observe(outcome.duration_seconds)
        return [outcome] if self._held[Lane.SYNC].pop(outcome.id, None) is not None else []

    def _on_exit(self, reason: str) -> None:
        self.ready = False
        self._events.on_exit(self, reason)


def _batches(works: Sequence[Work]) -> Iterator[list[Work]]:
    """Split so that a frame stays far below its limit, as long as no single work is near it."""
    batch: list[Work] = []
    size = 0
    for work in works:
        if batch and size + len(work.arguments) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(work)
        size += len(work.arguments)
    if batch:
        yield batch
