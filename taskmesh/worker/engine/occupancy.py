"""What tasks that run for long do to the road: their own messages are acked early, and no others wait behind them.

A claimed node needs its message no more: its lease and its place in the outbox bring it back should this process die.
So a task may run for hours without meeting the broker's limit for unacked messages. And what has waited for an
executor for some seconds is handed back, and nothing more is taken for a while, so that others get what they can run.
"""

from __future__ import annotations

from typing import NamedTuple

from taskmesh.broker.protocol import AckToken, Consumer
from taskmesh.worker.engine.attempt import InFlight
from taskmesh.worker.engine.intake import Intake
from taskmesh.worker.engine.work_pool import WorkPool

RESTING_LOOKS = 6
"""For so many looks nothing is taken unless a task ends. Not for ever: there may be room for tasks of another kind."""


class _Waiting(NamedTuple):
    """What waits longest: a message that is not claimed, and a work that no executor has."""

    message: AckToken | None
    work: int | None


class Occupancy:
    """Looks at one process every few seconds. What it meets at two looks in a row has been there for long."""

    def __init__(self, consumer: Consumer, in_flight: InFlight, intake: Intake) -> None:
        self._consumer = consumer
        self._in_flight = in_flight
        self._intake = intake
        self._running: set[int] = set()
        self._waiting = _Waiting(None, None)
        self._looks_left = 0

    @property
    def resting(self) -> bool:
        """Whether nothing is taken, since nothing could be run."""
        return self._looks_left > 0

    def look(self, pool: WorkPool) -> None:
        """Ack what runs long; hand back what has waited for long."""
        running = self._in_flight.claimed_ids()
        for id_ in self._running & running:
            self._ack_early(id_)
        self._running = running
        before, self._waiting = self._waiting, _Waiting(self._intake.oldest, pool.oldest_waiting)
        if self._looks_left:
            self._looks_left -= 1
            if not self._looks_left:
                self._consumer.resume()
        elif any(now is not None and now == then for now, then in zip(self._waiting, before, strict=True)):
            self._rest(pool)

    def on_end(self) -> None:
        """A task has ended, so another one can be run."""
        if self.resting:
            self._looks_left = 0
            self._consumer.resume()

    def _ack_early(self, id_: int) -> None:
        attempt = self._in_flight.by_id(id_)
        if attempt is not None and attempt.acks:
            self._consumer.ack(attempt.acks)
            attempt.acks.clear()

    def _rest(self, pool: WorkPool) -> None:
        self._looks_left = RESTING_LOOKS
        self._consumer.pause()
        self._consumer.requeue(self._intake.give_up(keep=0))
        pool.give_back()
