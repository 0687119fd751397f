"""What tasks that run for long do to the road: their own messages are acked early, and no others wait behind them.

A claimed node needs its message no more: its lease and its place in the outbox bring it back should this process die.
So a task may run for hours without meeting the broker's limit for unacked messages. And while every executor is busy
with such tasks, this process takes nothing, so that what it cannot run goes to others.
"""

from __future__ import annotations

from taskmesh.broker.protocol import AckToken, Consumer
from taskmesh.worker.attempt import InFlight
from taskmesh.worker.intake import Intake


class Occupancy:
    """Looks at one process every few seconds. What it meets at two looks in a row has been there for long."""

    def __init__(self, consumer: Consumer, in_flight: InFlight, intake: Intake) -> None:
        self._consumer = consumer
        self._in_flight = in_flight
        self._intake = intake
        self._running: set[int] = set()
        self._oldest: AckToken | None = None
        self._resting = False

    @property
    def resting(self) -> bool:
        """Whether nothing is taken, since nothing could be run."""
        return self._resting

    def look(self, room: int) -> None:
        """Ack what runs long; take nothing more when messages wait and there has been no room for them."""
        running = self._in_flight.claimed_ids()
        for id_ in self._running & running:
            self._ack_early(id_)
        self._running = running
        oldest = self._intake.oldest
        if room == 0 and oldest is not None and oldest == self._oldest and not self._resting:
            self._rest()
        self._oldest = self._intake.oldest

    def on_room(self) -> None:
        """Something can be run again."""
        if self._resting:
            self._resting = False
            self._consumer.resume()

    def _ack_early(self, id_: int) -> None:
        attempt = self._in_flight.by_id(id_)
        if attempt is not None and attempt.acks:
            self._consumer.ack(attempt.acks)
            attempt.acks.clear()

    def _rest(self) -> None:
        self._resting = True
        self._consumer.pause()
        self._consumer.requeue(self._intake.give_up(keep=0))
