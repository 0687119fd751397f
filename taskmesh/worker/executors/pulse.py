"""The heartbeats of the tasks of one executor, on their way to its I/O process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from taskmesh.clock import Clock

BEAT_SECONDS = 0.05
"""Heartbeats leave at most this often, the newest of each task; a loop may call for one at each turn."""


class Pulse:
    """Sends heartbeats: the first at once, then in batches. Safe in threads."""

    def __init__(self, send: Callable[[Sequence[tuple[int, bytes]]], None], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[int, bytes] = {}
        self._sent_at = 0.0
        self._later: threading.Timer | None = None
        self._beaten: set[int] = set()
        self._cancelled: set[int] = set()

    def beat(self, work_id: int, checkpoint: bytes) -> None:
        """Say that a task goes on; an empty checkpoint leaves the one before."""
        with self._lock:
            self._beaten.add(work_id)
            self._waiting[work_id] = checkpoint or self._waiting.get(work_id, b"")
            wait_seconds = self._sent_at + BEAT_SECONDS - self._clock.monotonic()
            if wait_seconds <= 0:
                self._flush()
            elif self._later is None:
                self._later = threading.Timer(wait_seconds, self._flush_later)
                self._later.daemon = True
                self._later.start()

    def cancel(self, work_id: int) -> None:
        """The task should end; it hears of it with its next heartbeat."""
        with self._lock:
            if work_id in self._beaten:
                self._cancelled.add(work_id)

    def is_cancelled(self, work_id: int) -> bool:
        return work_id in self._cancelled

    def end(self, work_id: int) -> None:
        """The task has ended: what it said last must be known before that is."""
        if work_id not in self._beaten:
            return
        with self._lock:
            self._beaten.discard(work_id)
            self._cancelled.discard(work_id)
            if work_id in self._waiting:
                self._flush()

    def _flush_later(self) -> None:
        with self._lock:
            self._later = None
            self._flush()

    def _flush(self) -> None:
        # Within the lock, so that beats leave in their order.
        beats, self._waiting = list(self._waiting.items()), {}
        if beats:
            self._sent_at = self._clock.monotonic()
            self._send(beats)
