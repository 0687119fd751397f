"""The time limits of a node: what is over is told in words, and what runs too long is killed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from taskmesh.clock import Clock
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import ClaimAnswer
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt

START_TO_CLOSE = "StartToCloseTimeout"
SCHEDULE_TO_START = "ScheduleToStartTimeout"
SCHEDULE_TO_CLOSE = "ScheduleToCloseTimeout"
HEARTBEAT = "HeartbeatTimeout"
RUN_DEADLINE = "RunDeadline"

JUST_AFTER_SECONDS = 0.01

_log = logging.getLogger(__name__)


class _Heart(NamedTuple):
    """When an attempt is killed unless it gives a heartbeat before, and how."""

    stop: asyncio.TimerHandle
    kill: Callable[[int], bool]


class Limiter:
    """Watches the attempts of one process. One thread, on its loop."""

    def __init__(self, clock: Clock, tally: Tally) -> None:
        self._clock = clock
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, asyncio.TimerHandle] = {}
        self._hearts: dict[int, _Heart] = {}
        self._killed: dict[int, Failure] = {}

    def open(self, attempt: Attempt, answer: ClaimAnswer) -> Failure | None:
        """Note when a claimed attempt must be over; says what is wrong when it comes too late already."""
        limits, now = attempt.node.limits, self._clock.monotonic()
        if limits.schedule_to_close is not None:
            closes_at = now + limits.schedule_to_close - answer.open_seconds
            attempt.closes_at, attempt.closing = closes_at, _too_long_open(limits.schedule_to_close)
        if answer.left_seconds is not None:
            attempt.run_deadline = self._clock.now() + answer.left_seconds
            if attempt.closes_at is None or now + answer.left_seconds < attempt.closes_at:
                attempt.closes_at, attempt.closing = now + answer.left_seconds, _RUN_OVERDUE
        if attempt.closing is not None and attempt.closes_at is not None and attempt.closes_at <= now:
            return self._over(attempt.closing)
        if limits.schedule_to_start is not None and answer.waited_seconds > limits.schedule_to_start:
            return self._over(_too_long_ready(limits.schedule_to_start, answer.waited_seconds))
        return None

    def watch(self, attempt: Attempt, kill: Callable[[int], bool]) -> None:
        """An attempt has started: have it killed when its time is over."""
        nearest = self._nearest(attempt)
        if nearest is not None:
            failure, seconds = nearest
            self._watched[attempt.id] = self._loop.call_later(max(0.0, seconds), self._kill, attempt, failure, kill)
        self._await_beat(attempt, kill)

    def beat(self, attempt: Attempt) -> None:
        """An attempt goes on."""
        heart = self._hearts.pop(attempt.id, None)
        if heart is not None:
            heart.stop.cancel()
            self._await_beat(attempt, heart.kill)

    def kill(self, attempt: Attempt, failure: Failure, kill: Callable[[int], bool]) -> None:
        """Have an attempt killed now, for a reason that is no time limit."""
        self._kill(attempt, failure, kill)

    def forget(self, attempt_id: int) -> None:
        """An attempt has ended by itself."""
        heart, watched = self._hearts.pop(attempt_id, None), self._watched.pop(attempt_id, None)
        for handle in (heart and heart.stop, watched):
            if handle is not None:
                handle.cancel()
        self._killed.pop(attempt_id, None)

    def verdict(self, attempt_id: int) -> Failure | None:
        """Why an attempt that is lost was killed, where that was done here."""
        failure = self._killed.pop(attempt_id, None)
        self.forget(attempt_id)
        return self._over(failure) if failure and failure.type in _LIMITS else failure

    def closes_before(self, attempt: Attempt, delay_seconds: float) -> bool:
        """Whether no attempt may start any more after a delay from now."""
        return attempt.closes_at is not None and self._clock.monotonic() + delay_seconds >= attempt.closes_at

    def within(self, attempt: Attempt, delay_seconds: float) -> float:
        """A delay, cut so that a node that waits is looked at when its time is over."""
        if attempt.closes_at is None:
            return delay_seconds
        return min(delay_seconds, max(0.0, attempt.closes_at - self._clock.monotonic()) + JUST_AFTER_SECONDS)

    def _await_beat(self, attempt: Attempt, kill: Callable[[int], bool]) -> None:
        limit = attempt.node.limits.heartbeat
        if limit is not None:
            stop = self._loop.call_later(limit, self._kill, attempt, _too_long_silent(limit), kill)
            self._hearts[attempt.id] = _Heart(stop, kill)

    def _nearest(self, attempt: Attempt) -> tuple[Failure, float] | None:
        limits = attempt.node.limits
        ends = []
        if limits.start_to_close is not None:
            ends.append((_too_long_running(limits.start_to_close), limits.start_to_close))
        if attempt.closing is not None and attempt.closes_at is not None:
            ends.append((attempt.closing, attempt.closes_at - self._clock.monotonic()))
        return min(ends, key=lambda end: end[1], default=None)

    def _kill(self, attempt: Attempt, failure: Failure, kill: Callable[[int], bool]) -> None:
        if attempt.id not in self._killed and kill(attempt.id):
            self._killed[attempt.id] = failure
            names = {"run": attempt.key.run_id, "node": attempt.node_name}
            _log.warning("a node of task %s is killed: %s", attempt.task, failure.message, extra=names)

    def _over(self, failure: Failure) -> Failure:
        self._tally.count("timeouts_total", (failure.type,))
        return failure


_LIMITS = frozenset({START_TO_CLOSE, SCHEDULE_TO_START, SCHEDULE_TO_CLOSE, HEARTBEAT, RUN_DEADLINE})


def _too_long_running(limit_seconds: float) -> Failure:
    return _failure(START_TO_CLOSE, f"it was killed: it ran for more than {limit_seconds:g} s, its timeout")


def _too_long_silent(limit_seconds: float) -> Failure:
    return _failure(HEARTBEAT, f"it was killed: it gave no heartbeat for {limit_seconds:g} s, its heartbeat_timeout")


def _too_long_ready(limit_seconds: float, waited_seconds: float) -> Failure:
    sentence = f"it waited {waited_seconds:.3g} s for a worker; schedule_to_start allows {limit_seconds:g} s"
    return _failure(SCHEDULE_TO_START, sentence)


def _too_long_open(limit_seconds: float) -> Failure:
    return _failure(
        SCHEDULE_TO_CLOSE, f"it had not succeeded {limit_seconds:g} s after it was ready: schedule_to_close"
    )


def _failure(kind: str, sentence: str) -> Failure:
    # A policy may name these, or TimeoutError for all of them.
    return Failure(kind, sentence, "", (kind, "TimeoutError"))


_RUN_OVERDUE = _failure(RUN_DEADLINE, "the deadline of its run was over")
