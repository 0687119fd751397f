"""What running tasks say of their progress, on its way to the store: in batches, the newest of each attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from taskmesh.store.calls import Beat, Word
from taskmesh.store.store import Store
from taskmesh.worker.engine.attempt import Attempt

FLUSH_SECONDS = 0.5
"""How often heartbeats reach the store; a cancelled task hears of it with the heartbeat after that."""


class _Beaten(NamedTuple):
    attempt: Attempt
    checkpoint: bytes


class Heartbeats:
    """Gathers the heartbeats of one I/O process. One thread, on its loop; ``wake`` asks for a ``flush`` soon."""

    def __init__(self, store: Store, holder: str, wake: Callable[[], None]) -> None:
        self._store = store
        self._holder = holder
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._beaten: dict[int, _Beaten] = {}
        self._is_due = False
        self._next: asyncio.TimerHandle | None = None

    def note(self, attempt: Attempt, checkpoint: bytes) -> None:
        before = self._beaten.get(attempt.id)
        self._beaten[attempt.id] = _Beaten(attempt, checkpoint or (before.checkpoint if before else b""))
        if self._next is None:
            self._next = self._loop.call_later(FLUSH_SECONDS, self._become_due)

    def forget(self, attempt: Attempt) -> None:
        """An attempt has succeeded: no other one will ask for its checkpoint."""
        self._beaten.pop(attempt.id, None)

    def hurry(self, attempts: Iterable[Attempt]) -> None:
        """Attempts are over, and there may be others: their checkpoints must be stored before."""
        if self._beaten and any(attempt.id in self._beaten for attempt in attempts):
            self._is_due = True

    def flush(self, cancel: Callable[[int], None]) -> None:
        """Store what is due; ``cancel`` is called for attempts that should end.

        :raises StoreUnavailableError: everything stays here.
        """
        if not self._is_due:
            return
        beaten = list(self._beaten.values())
        answers = self._store.beat_nodes([_beat_of(each) for each in beaten], self._holder)
        self._beaten.clear()
        self._is_due = False
        for each, answer in zip(beaten, answers, strict=True):
            each.attempt.halt = "" if each.attempt.runs_always else answer.halt
            if each.attempt.halt or answer.word is not Word.BEATEN:
                cancel(each.attempt.id)

    def _become_due(self) -> None:
        self._next = None
        self._is_due = bool(self._beaten)
        if self._is_due:
            self._wake()


def _beat_of(beaten: _Beaten) -> Beat:
    return Beat(beaten.attempt.key, beaten.attempt.token, beaten.checkpoint)
