"""The second half of an attempt's life: its end, or its hand-back, reaches the store, the broker, and then is acked."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskmesh.broker.protocol import AckToken
from taskmesh.dispatch.advance import Advance, Advancer, Ending
from taskmesh.dispatch.children.parents import Parents
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.waking import Sleeper
from taskmesh.store.calls import NodeKey, Release, Told, Word
from taskmesh.store.store import Request
from taskmesh.worker.engine.attempt import Attempt, InFlight
from taskmesh.worker.engine.parts import Parts

SETTLEMENTS_PER_BATCH = 256

BYTES_PER_BATCH = 8 * 1024 * 1024
"""A batch must reach the store within one socket timeout, or it would be tried again and never get there."""

SHORT_WAIT_SECONDS = 1.0
"""A node that waits no longer for its next attempt is woken from here: the keeper may not have looked by then."""

HANDED_ON = "handed_on"
"""In the metrics, the outcome of an attempt that was none: its task was not known."""

PARKED = "parked"
"""One that was none either: its breaker did not let it run, or it waits for a time or a signal."""

_log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """The end of an attempt, and what to ack when it is settled."""

    ending: Ending
    acks: list[AckToken]


class Settler:
    """Gathers what has ended and settles it in batches. Nothing leaves it before the store has answered."""

    def __init__(self, parts: Parts, in_flight: InFlight, parents: Parents, holder: str) -> None:
        self._parts = parts
        self._in_flight = in_flight
        self._holder = holder
        self._advancer = Advancer(parts.store, parents)
        self._endings: deque[Ended] = deque()
        self._releases: deque[tuple[Attempt, bool]] = deque()
        self.on_waiting: Callable[[Ending, Advance], None] = lambda ending, advance: None
        """Told the answer about each node that is to wait for a child run."""

    @property
    def waiting(self) -> int:
        """Ends and hand-backs that the store has not taken yet."""
        return len(self._endings) + len(self._releases)

    def has(self, key: NodeKey) -> bool:
        """Whether an end, or a hand-back, of a node waits here."""
        ended = any(each.ending.key == key for each in self._endings)
        return ended or any(attempt.key == key for attempt, _ in self._releases)

    def end(self, attempt: Attempt, ending: Ending) -> None:
        self._in_flight.remove(attempt)
        self._endings.append(Ended(ending, attempt.acks))
        self._parts.tally.count("nodes_total", (attempt.task, _outcome(ending)))

    def release(self, attempt: Attempt, counts: bool) -> None:
        """Hand a node back; ``counts`` says whether the attempt is used up."""
        self._in_flight.remove(attempt)
        self._releases.append((attempt, counts))

    def request(self) -> tuple[list[Ended], Request[Told]] | None:
        """A batch of what has ended, and the question that settles it; None when nothing has ended."""
        batch = self._next_batch()
        return (batch, self._advancer.settling([ended.ending for ended in batch], self._holder)) if batch else None

    def take(self, batch: Sequence[Ended], told: Sequence[Told]) -> None:
        """Publish what became ready, and ack the batch once that is confirmed.

        :raises StoreUnavailableError: not all dependents could be told; put the batch back.
        """
        advances = self._advancer.follow([ended.ending for ended in batch], told)
        for ended, advance in zip(batch, advances, strict=True):
            if ended.ending.ticket:
                self.on_waiting(ended.ending, advance)
        self._note_refused(batch, advances)
        ready = [each for advance in advances for each in advance.ready]
        self._publish_then_ack(ready, [token for ended in batch for token in ended.acks])
        for ended, advance in zip(batch, advances, strict=True):
            if advance.word is Word.RETRYING and ended.ending.delay_seconds <= SHORT_WAIT_SECONDS:
                self._wake_after(ended.ending, ended.ending.delay_seconds)
            if advance.word is Word.TOLD:
                self._wake_after(ended.ending, 0.0)

    def _wake_after(self, ending: Ending, seconds: float) -> None:
        sleeper = Sleeper(ending.plan, ending.key, ending.shard_key)
        self._parts.alarm.set(sleeper, self._parts.clock.monotonic() + seconds)

    def put_back(self, batch: Sequence[Ended]) -> None:
        """Settle again later: what has been settled answers the same."""
        self._endings.extendleft(reversed(batch))

    def hand_back(self) -> None:
        """Release what is to be handed back.

        :raises StoreUnavailableError: what was not taken stays here.
        """
        while self._releases:
            self._release_batch([self._releases[at] for at in range(min(len(self._releases), SETTLEMENTS_PER_BATCH))])

    def resume(self, attempt: Attempt) -> None:
        """Tell the dependents of a node that had ended before again, then ack its message.

        :raises StoreUnavailableError: the message was not acked.
        """
        advance = self._advancer.resume(attempt.plan, attempt.key, attempt.shard_key)
        self._publish_then_ack(advance.ready, attempt.acks)

    def _next_batch(self) -> list[Ended]:
        batch: list[Ended] = []
        size = 0
        while self._endings and len(batch) < SETTLEMENTS_PER_BATCH and size < BYTES_PER_BATCH:
            ended = self._endings.popleft()
            size += len(ended.ending.output)
            batch.append(ended)
        return batch

    def _release_batch(self, batch: Sequence[tuple[Attempt, bool]]) -> None:
        answers = self._parts.store.release_nodes([_release_of(*each) for each in batch], self._holder)
        for _ in batch:
            self._releases.popleft()
        ready = [
            Ready(attempt.plan, attempt.key.run_id, attempt.key.node, attempt.shard_key, answer.attempt, answer.token)
            for (attempt, _), answer in zip(batch, answers, strict=True)
            if answer.word is Word.RELEASED
        ]
        self._parts.tally.count("released_total", amount=len(ready))
        self._publish_then_ack(ready, [token for attempt, _ in batch for token in attempt.acks])

    def _publish_then_ack(self, ready: Sequence[Ready], acks: list[AckToken]) -> None:
        self._parts.dispatcher.publish(ready, lambda: self._confirmed(len(ready), acks))

    def _confirmed(self, published: int, acks: list[AckToken]) -> None:
        self._parts.tally.count("published_total", amount=published)
        self._parts.consumer.ack(acks)

    def _note_refused(self, batch: Sequence[Ended], advances: Sequence[Advance]) -> None:
        stale = sum(advance.word is Word.STALE for advance in advances)
        if stale:
            self._parts.tally.count("stale_settlements_total", amount=stale)
        for ended, advance in zip(batch, advances, strict=True):
            if advance.word in (Word.UNKNOWN, Word.BROKEN):
                names = {"run": ended.ending.key.run_id, "node": ended.ending.key.node}
                _log.error("the end of a node has no run any more to be recorded in", extra=names)


def _outcome(ending: Ending) -> str:
    if ending.counts:
        return ending.state
    return PARKED if ending.cause else HANDED_ON


def _release_of(attempt: Attempt, counts: bool) -> Release:
    return Release(attempt.key, attempt.token, attempt.plan.pool_of(attempt.key.node), counts)
