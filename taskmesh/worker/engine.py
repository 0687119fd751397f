"""The heart of an I/O process: deliveries in, claims, work to the executors, outcomes settled, dependents published, acks.

One turn of the loop does each step for everything that has gathered since the last:

    1. settle what the executors have ended      2. publish what became ready     3. ack once that is confirmed
    4. read deliveries                           5. claim their nodes             6. hand them to the executors

A store that does not answer leaves everything where it was; the turn is tried again, and every call may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from taskmesh.clock import Clock
from taskmesh.broker.protocol import AckToken, Consumer, Delivery
from taskmesh.dispatch.advance import Advance, Advancer, Ending
from taskmesh.dispatch.dispatcher import Dispatcher, Ready
from taskmesh.dispatch.plan import BEFORE_FIRST, Plans
from taskmesh.errors import StoreUnavailableError, UsageError, WireError
from taskmesh.observability.tally import Tally
from taskmesh.resilience.backoff import full_jitter
from taskmesh.store.calls import Claim, ClaimAnswer, NodeKey, Release, Word
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.wire.messages import NodeMessage, ProbeMessage, decode_message
from taskmesh.worker.attempt import Attempt, InFlight
from taskmesh.worker.dead_letters import DeadLetters
from taskmesh.worker.protocol import Failure, Outcome, Work
from taskmesh.worker.work_pool import WorkPool

CLAIMS_PER_TURN = 128
SETTLEMENTS_PER_TURN = 256

FIELDS_PER_CLAIM = 200
"""A claim brings at most so many outputs with it; a wider join reads them in pages."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine works with."""

    store: Store
    reader: Reader
    plans: Plans
    dispatcher: Dispatcher
    consumer: Consumer
    dead_letters: DeadLetters
    tally: Tally
    clock: Clock


class Engine:
    """Runs the nodes that the broker delivers. Everything happens on one event loop and one thread."""

    def __init__(self, parts: Parts, holder: str, max_crashes: int) -> None:
        self._parts = parts
        self._holder = holder
        self._max_crashes = max_crashes
        self._advancer = Advancer(parts.store, holder)
        self._loop = asyncio.get_running_loop()
        self._pool: WorkPool | None = None
        self._deliveries: deque[Delivery] = deque()
        self._endings: deque[tuple[Ending, list[AckToken]]] = deque()
        self._releases: deque[tuple[Attempt, bool]] = deque()
        self._in_flight = InFlight()
        self._backoff = full_jitter(0.05, 2.0)
        self._failures = 0
        self._scheduled = False
        self._taking = True

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def unsettled(self) -> int:
        """Ends and releases that the store has not taken yet."""
        return len(self._endings) + len(self._releases)

    def use(self, pool: WorkPool) -> None:
        self._pool = pool

    def on_delivery(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._wake()

    def on_pool_ready(self) -> None:
        self._wake()

    def on_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            attempt = self._in_flight.by_id(outcome.id)
            if attempt is not None:
                self._end(attempt, attempt.failed(outcome.failure) if outcome.failure else attempt.succeeded(outcome))
                self._parts.tally.observe("node_seconds", outcome.duration_seconds, (attempt.task,))
        self._wake()

    def on_lost(self, started: Sequence[int], waiting: Sequence[int], reason: str) -> None:
        """An executor is gone: what may have begun has used up an attempt, the rest has not."""
        for id_ in started:
            self._crashed(id_, reason)
        for id_ in waiting:
            attempt = self._in_flight.by_id(id_)
            if attempt is not None:
                self._release(attempt, counts=False)
        self._wake()

    def stop_taking(self) -> list[AckToken]:
        """Take no more; returns the acks of deliveries that nobody has claimed."""
        self._taking = False
        tokens = [delivery.token for delivery in self._deliveries]
        self._deliveries.clear()
        return tokens

    def surplus(self) -> list[AckToken]:
        """Give up the deliveries that the executors have no room for, newest first."""
        keep = self._pool.capacity if self._pool else 0
        tokens = []
        while len(self._deliveries) > keep:
            tokens.append(self._deliveries.pop().token)
        return tokens

    def release_all(self) -> None:
        """Hand everything in flight back, with no attempt used up."""
        for attempt in self._in_flight.all():
            self._release(attempt, counts=False)
        self._wake()

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        begun = self._parts.clock.monotonic()
        try:
            self._settle()
            self._hand_back()
            self._take()
            self._failures = 0
        except StoreUnavailableError as error:
            self._failures += 1
            if self._failures == 1:
                _log.warning("%s; trying again until it does", error)
            self._scheduled = True
            self._loop.call_later(self._backoff(self._failures), self._turn)
        self._parts.tally.observe("loop_turn_seconds", self._parts.clock.monotonic() - begun)

    # Ends

    def _end(self, attempt: Attempt, ending: Ending) -> None:
        self._in_flight.remove(attempt)
        self._endings.append((ending, attempt.acks))
        self._parts.tally.count("nodes_total", (attempt.task, ending.state))

    def _release(self, attempt: Attempt, counts: bool) -> None:
        self._in_flight.remove(attempt)
        self._releases.append((attempt, counts))

    def _crashed(self, id_: int, reason: str) -> None:
        attempt = self._in_flight.by_id(id_)
        if attempt is None:
            return
        _log.warning("the executor of node %s was lost: %s", attempt.node_name, reason, extra=_names(attempt))
        if attempt.number >= self._max_crashes:
            message = f"its executor was lost {attempt.number} times, the last time because {reason}"
            self._end(attempt, attempt.failed(Failure("ExecutorLost", message, "")))
        else:
            self._release(attempt, counts=True)

    def _settle(self) -> None:
        while self._endings:
            batch = [self._endings[at] for at in range(min(len(self._endings), SETTLEMENTS_PER_TURN))]
            advances = self._advancer.settle([ending for ending, _ in batch])
            for _ in batch:
                self._endings.popleft()
            self._publish_then_ack(advances, [token for _, acks in batch for token in acks])

    def _publish_then_ack(self, advances: Sequence[Advance], acks: list[AckToken]) -> None:
        for advance in advances:
            if advance.word is Word.STALE:
                self._parts.tally.count("stale_settlements_total")
        ready = [each for advance in advances for each in advance.ready]
        self._parts.dispatcher.publish(ready, lambda: self._confirmed(len(ready), acks))

    def _confirmed(self, published: int, acks: list[AckToken]) -> None:
        self._parts.tally.count("published_total", amount=published)
        self._parts.consumer.ack(acks)

    def _hand_back(self) -> None:
        while self._releases:
            batch = [self._releases[at] for at in range(min(len(self._releases), SETTLEMENTS_PER_TURN))]
            answers = self._parts.store.release_nodes([self._release_of(*each) for each in batch])
            for _ in batch:
                self._releases.popleft()
            released = [(attempt, answer) for (attempt, _), answer in zip(batch, answers, strict=True)]
            ready = [
                Ready(
                    attempt.plan, attempt.key.run_id, attempt.key.node, attempt.shard_key, answer.attempt, answer.token
                )
                for attempt, answer in released
                if answer.word is Word.RELEASED
            ]
            acks = [token for attempt, _ in batch for token in attempt.acks]
            self._publish_then_ack([Advance(Word.RELEASED, ready=ready)], acks)

    def _release_of(self, attempt: Attempt, counts: bool) -> Release:
        return Release(attempt.key, self._holder, attempt.token, attempt.plan.pool_of(attempt.key.node), counts)

    # Beginnings

    def _take(self) -> None:
        pool = self._pool
        if pool is None or not self._taking:
            return
        room = min(pool.capacity, CLAIMS_PER_TURN)
        attempts = self._read_deliveries(room)
        if attempts:
            self._claim(pool, attempts)
        if self._endings or (self._deliveries and pool.capacity):
            self._wake()

    def _read_deliveries(self, room: int) -> list[Attempt]:
        attempts: list[Attempt] = []
        while self._deliveries and len(attempts) < room:
            attempt = self._read(self._deliveries[0])
            self._deliveries.popleft()
            if attempt is not None:
                attempts.append(attempt)
        self._parts.dead_letters.flush_probes()
        return attempts

    def _read(self, delivery: Delivery) -> Attempt | None:
        try:
            message = decode_message(delivery.body)
        except WireError as error:
            self._parts.dead_letters.bury(delivery, "undecodable", str(error))
            return None
        if isinstance(message, ProbeMessage):
            self._parts.dead_letters.note_probe(message, delivery.token)
            return None
        return self._open(message, delivery)

    def _open(self, message: NodeMessage, delivery: Delivery) -> Attempt | None:
        key = NodeKey(message.run_id, message.node)
        known = self._in_flight.by_key(key)
        if known is not None:
            known.acks.append(delivery.token)
            return None
        try:
            plan = self._parts.plans.get(message.flow_hash, message.run_id)
        except (WireError, UsageError) as error:
            reason = f"the flow of run {message.run_id!r} cannot be read: {error}"
            self._parts.dead_letters.bury(delivery, "unreadable_flow", reason)
            return None
        if plan is None or not BEFORE_FIRST <= message.node < len(plan.flow.nodes):
            self._parts.dead_letters.bury(
                delivery, f"run {message.run_id!r} or its node {message.node} is unknown here"
            )
            return None
        if delivery.redelivered:
            self._parts.tally.count("redelivered_total")
        attempt = Attempt(
            self._in_flight.next_id(), key, plan, message.shard_key, message.token, delivery, [delivery.token]
        )
        self._in_flight.add(attempt)
        return attempt

    def _claim(self, pool: WorkPool, attempts: list[Attempt]) -> None:
        try:
            answers = self._parts.store.claim_nodes([_claim_of(each) for each in attempts], self._holder)
            works = [self._begin(*each) for each in zip(attempts, answers, strict=True)]
        except StoreUnavailableError:
            self._put_back(attempts)
            raise
        pool.submit([work for work in works if work is not None])

    def _put_back(self, attempts: list[Attempt]) -> None:
        """Claim them again later: a claim that did happen answers this holder the same."""
        for attempt in reversed(attempts):
            if self._in_flight.by_id(attempt.id) is not None:
                self._in_flight.remove(attempt)
                self._deliveries.appendleft(attempt.delivery)
                self._parts.consumer.requeue(attempt.acks[1:])

    def _begin(self, attempt: Attempt, answer: ClaimAnswer) -> Work | None:
        self._parts.tally.count("claims_total", (answer.word,))
        if answer.word is not Word.CLAIMED:
            self._unclaimed(attempt, answer)
            return None
        attempt.token = answer.token
        attempt.number = answer.attempt
        if answer.halt:
            self._end(attempt, attempt.cancelled(answer.halt))
            return None
        return self._work(attempt, answer)

    def _work(self, attempt: Attempt, answer: ClaimAnswer) -> Work | None:
        if self._pool is not None and attempt.task not in self._pool.tasks:
            self._end(attempt, attempt.failed(_unknown_task(attempt.task)))
            return None
        inputs = attempt.plan.inputs(attempt.key.node)
        values: Sequence[bytes | None] = answer.fields
        if len(inputs.fields) > FIELDS_PER_CLAIM:
            values = self._parts.reader.run_fields(attempt.key.run_id, inputs.fields)
        try:
            arguments = inputs.arguments(values)
        except (UsageError, WireError) as error:
            self._end(attempt, attempt.failed(Failure(type(error).__name__, str(error), "")))
            return None
        return Work(attempt.id, attempt.task, arguments, (attempt.key.run_id, attempt.node_name, attempt.number))

    def _unclaimed(self, attempt: Attempt, answer: ClaimAnswer) -> None:
        if answer.word is Word.ENDED and (attempt.delivery.redelivered or answer.spread >= 0):
            advances = [self._advancer.resume(attempt.plan, attempt.key, attempt.shard_key)]
        else:
            advances = []
        self._in_flight.remove(attempt)
        self._publish_then_ack(advances, attempt.acks)


def _claim_of(attempt: Attempt) -> Claim:
    node = attempt.key.node
    fields = attempt.plan.inputs(node).fields if node != BEFORE_FIRST else ()
    return Claim(
        attempt.key,
        attempt.message_token,
        attempt.plan.pool_of(node),
        fields if len(fields) <= FIELDS_PER_CLAIM else (),
    )


def _unknown_task(task: str) -> Failure:
    message = (
        f"task {task!r} is not registered in this worker; start a worker with -A and the module that has it, "
        "or correct the name in the flow"
    )
    return Failure("UnknownTask", message, "")


def _names(attempt: Attempt) -> dict[str, str]:
    return {"run": attempt.key.run_id, "node": attempt.node_name}
