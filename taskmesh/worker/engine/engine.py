"""The heart of an I/O process: from deliveries to work for the executors, from outcomes to what is ready next.

Each turn of the loop asks the store the next questions in one batch, and collects the answers to those before; so the
store and this process work at the same time:

    1. what was settled: publish what became ready, and ack once that is confirmed
    2. what was claimed: hand it to the executors
    3. ask to settle what the executors have ended, and to claim the nodes of the messages that came

A store that does not answer leaves everything where it was; the turn is tried again, and every call may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from taskmesh.broker.protocol import AckToken, Delivery
from taskmesh.dispatch.children.parents import Parents
from taskmesh.errors import StoreUnavailableError
from taskmesh.resilience.backoff import full_jitter
from taskmesh.store.breakers import breakers_of
from taskmesh.store.calls import ClaimAnswer, NodeKey, Told
from taskmesh.store.link import Command, Conversation
from taskmesh.store.store import Request
from taskmesh.worker.channels.protocol import Outcome
from taskmesh.worker.engine.admission import Admission
from taskmesh.worker.engine.attempt import Attempt, InFlight
from taskmesh.worker.engine.beside import Beside, Room, Tellings
from taskmesh.worker.engine.breakers import BreakerBoard
from taskmesh.worker.engine.fates import Fates
from taskmesh.worker.engine.halting import Halting
from taskmesh.worker.engine.handing_on import HandingOn
from taskmesh.worker.engine.heartbeats import Heartbeats
from taskmesh.worker.engine.intake import Intake
from taskmesh.worker.engine.occupancy import Occupancy
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.quarantine import Quarantine
from taskmesh.worker.engine.settling import Ended, Settler
from taskmesh.worker.engine.time_limits import Limiter
from taskmesh.worker.engine.work_pool import WorkPool

RETRY_BASE_SECONDS = 0.05
RETRY_CAP_SECONDS = 2.0

PARK_SECONDS = 0.25
"""How often a node that another holder runs is looked at: when that holder dies, its node is taken over so soon."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the store was asked and has not answered yet."""

    settling: tuple[list[Ended], Request[Told]] | None
    claiming: tuple[list[Attempt], Request[ClaimAnswer]] | None
    conversation: Conversation | None = None
    asked_at: float = 0.0

    def commands(self) -> list[Command]:
        return [
            *(self.settling[1].commands if self.settling else ()),
            *(self.claiming[1].commands if self.claiming else ()),
        ]


class Engine:
    """Runs the nodes that the broker delivers. Everything happens on one event loop and one thread."""

    def __init__(self, parts: Parts, holder: str, quarantine: Quarantine, handing_on: HandingOn) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._pool: WorkPool | None = None
        self._in_flight = InFlight()
        room = Room()
        parents = Parents(parts.store, parts.large, Tellings(parts, room).begin)
        self._settler = Settler(parts, self._in_flight, parents, holder)
        self._beside = Beside(room, self._in_flight, self._settler, self._wake)
        self._heartbeats = Heartbeats(parts.store, holder, self._wake)
        limiter = Limiter(parts.clock, parts.tally)
        board = BreakerBoard(breakers_of(parts.store), holder, self._in_flight, parts.tally, parts.clock)
        self._fates = Fates(parts.tally, self._in_flight, self._settler, limiter, self._heartbeats, quarantine, board)
        admission = Admission(parts.tally, limiter, quarantine, handing_on, board)
        self._intake = Intake(parts, self._in_flight, self._settler, admission, parents, self._beside, holder)
        self._halting = Halting(parts, self._in_flight, limiter)
        self._occupancy = Occupancy(parts.consumer, self._in_flight, self._intake)
        self._backoff = full_jitter(RETRY_BASE_SECONDS, RETRY_CAP_SECONDS)
        self._asked: deque[_Asked] = deque()
        self._failures = 0
        self._scheduled = False
        self._unparking = False
        self._taking = True

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def claiming(self) -> bool:
        """Whether nodes may have been claimed that the pool does not know of yet."""
        return len(self._beside) > 0 or any(asked.claiming for asked in self._asked)

    @property
    def is_busy(self) -> bool:
        """Whether messages wait here, or would have to: then what comes after them takes its time."""
        return len(self._intake) > 0 or self._pool is None or not self._pool.capacity

    @property
    def unsettled(self) -> int:
        """Ends and hand-backs that the store has not taken yet."""
        return self._settler.waiting + sum(len(asked.settling[0]) for asked in self._asked if asked.settling)

    def has(self, key: NodeKey) -> bool:
        """Whether a node is in the hands of this engine, from its message to the store's answer to its end."""
        if self._in_flight.by_key(key) is not None or self._settler.has(key):
            return True
        return any(ended.ending.key == key for asked in self._asked if asked.settling for ended in asked.settling[0])

    def use(self, pool: WorkPool) -> None:
        self._pool = pool

    def on_pool_ready(self) -> None:
        self._wake()

    def on_delivery(self, delivery: Delivery) -> None:
        if self._taking:
            self._intake.add(delivery)
            self._wake()
        else:
            self._parts.consumer.requeue([delivery.token])

    def on_started(self, attempt_id: int) -> None:
        """User code begins to run an attempt that is timed."""
        if self._pool is not None:
            self._fates.started(attempt_id, self._pool.kill)

    def on_beats(self, beats: Sequence[tuple[int, bytes]]) -> None:
        """Tasks say that they go on, and perhaps how far they have come."""
        self._fates.beats(beats)

    def on_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self._fates.outcomes(outcomes)
        self._take_again()
        self._wake()

    def on_lost(self, started: Sequence[int], waiting: Sequence[int], reason: str) -> None:
        """An executor is gone, or works are given back that none has begun."""
        # When this process leaves, it ends executors itself; that says nothing about their nodes.
        self._fates.lost(started, waiting, reason, is_crash=self._taking)
        if started:
            self._take_again()
        self._wake()

    def stop_taking(self) -> list[AckToken]:
        """Take no more; returns the acks of deliveries that nobody has claimed."""
        self._taking = False
        return self._intake.give_up(keep=0)

    def surplus(self) -> list[AckToken]:
        """Give up the deliveries that the executors have no room for, newest first."""
        return self._intake.give_up(keep=self._pool.capacity if self._pool else 0)

    def look_at_long_tasks(self) -> None:
        """Keep tasks that run for long from holding messages; to be called every few seconds."""
        if self._taking and self._pool:
            self._occupancy.look(self._pool)

    async def look_at_halts(self, grace_seconds: float) -> None:
        """End tasks whose runs were cancelled or terminated; to be called every second."""
        if self._pool:
            await self._halting.look(self._pool, grace_seconds)

    def release_all(self) -> None:
        """Hand everything in flight back, with no attempt used up."""
        self._heartbeats.hurry(self._in_flight.all())
        for attempt in self._in_flight.all():
            self._settler.release(attempt, counts=False)
        self._wake()

    def _take_again(self) -> None:
        """An executor has room again."""
        if self._taking:
            self._occupancy.on_end()

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        begun = self._parts.clock.monotonic()
        try:
            asked = self._ask()
            if len(self._asked) > 1 or (self._asked and not asked):
                self._collect()
            self._failures = 0
        except Exception as error:
            # Whatever it was, nothing may stay half asked: answers would be taken for those to another question.
            self._put_all_back()
            self._try_again(error)
        # A node may end as soon as it is claimed: in a halted run, or with a task that is unknown here.
        if self._asked or self._settler.waiting:
            self._wake()
        self._parts.tally.observe("loop_turn_seconds", self._parts.clock.monotonic() - begun)

    def _ask(self) -> bool:
        """Send what there is to settle and to claim; the store works on it while the loop does other things."""
        if self._pool is not None:
            self._heartbeats.flush(self._pool.cancel)
        self._settler.hand_back()
        self._look_at_parked_later()
        claiming = self._claims() if self._taking else None
        asked = _Asked(self._settler.request(), claiming)
        commands = asked.commands()
        if not commands:
            return False
        # Noted before it is sent: should the sending fail, it is put back with the rest.
        self._asked.append(asked)
        asked_at = self._parts.clock.monotonic()
        self._asked[-1] = replace(asked, conversation=self._parts.store.link.begin(commands), asked_at=asked_at)
        return True

    def _claims(self) -> tuple[list[Attempt], Request[ClaimAnswer]] | None:
        return self._intake.request(self._room(), self._pool.tasks if self._pool else ())

    def _room(self) -> int:
        claims_asked = sum(len(asked.claiming[0]) for asked in self._asked if asked.claiming)
        return max(0, self._pool.capacity - claims_asked) if self._pool else 0

    def _collect(self) -> None:
        """Take the oldest answers."""
        asked = self._asked[0]
        replies = asked.conversation.collect() if asked.conversation else []
        self._parts.tally.observe("redis_batch_seconds", self._parts.clock.monotonic() - asked.asked_at)
        settled = len(asked.settling[0]) if asked.settling else 0
        if asked.settling:
            self._settler.take(asked.settling[0], asked.settling[1].answers(replies[:settled]))
            self._asked[0] = replace(asked, settling=None)
        if asked.claiming and self._pool:
            self._intake.take(asked.claiming[0], asked.claiming[1].answers(replies[settled:]), self._pool)
        self._asked.popleft()

    def _put_all_back(self) -> None:
        """Ask again later, in the same order; what did happen answers the same."""
        for asked in reversed(self._asked):
            if asked.conversation:
                asked.conversation.discard()
            if asked.settling:
                self._settler.put_back(asked.settling[0])
            if asked.claiming:
                self._intake.put_back(asked.claiming[0])
        self._asked.clear()

    def _look_at_parked_later(self) -> None:
        if self._intake.parked and not self._unparking:
            self._unparking = True
            self._loop.call_later(PARK_SECONDS, self._unpark)

    def _unpark(self) -> None:
        self._unparking = False
        self._intake.unpark()
        self._wake()

    def _try_again(self, error: Exception) -> None:
        self._failures += 1
        if not isinstance(error, StoreUnavailableError):
            _log.error("a turn of the engine failed; trying again", exc_info=error)
        elif self._failures == 1:
            _log.warning("%s; trying again until it does", error)
        self._scheduled = True
        self._loop.call_later(self._backoff(self._failures), self._turn)
