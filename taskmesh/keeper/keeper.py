"""One pass of the keeper, in bounded steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from taskmesh.broker.protocol import DirectMessage, Publisher, shard_queue_name
from taskmesh.dispatch.dispatcher import Dispatcher, Ready
from taskmesh.dispatch.lookup import LookedUp, look_up
from taskmesh.dispatch.plans import Plans
from taskmesh.keeper.leadership import Leadership
from taskmesh.model.states import NodeState
from taskmesh.observability.tally import Tally
from taskmesh.payload.large_values import NOWHERE, LargeValues
from taskmesh.store.aside import aside
from taskmesh.store.calls import NodeKey, Question, Renewed, Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.wire.messages import ProbeMessage, encode_message

NODES_PER_PASS = 200
"""How many nodes of one partition's outbox one pass looks after."""

PROBE_AGAIN_SECONDS = 5.0
PROBE_AGAIN_CAP_SECONDS = 300.0
"""A probe that has not come through is sent again after this long, since its queue may have been deleted. Where none
of the pool comes through it is twice as long each time, up to the cap: in queues that nobody consumes they gather."""

SERVED_SECONDS = 4 * PROBE_AGAIN_SECONDS
"""A pool is served when a probe came through one of its shards that was sent in this time."""

PUBLISH_MARGIN_SECONDS = 5.0
"""A node may be published this long after it was due; only a probe sent later than that proves it lost."""

RETENTION_PASS_SECONDS = 60.0

PROBE_SECONDS = 1.0

PROBING_PARTITION = 0
"""Probes and large values belong to no partition; who leads this one looks after them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeeperParts:
    """What a keeper works with."""

    store: Store
    reader: Reader
    housekeeping: Housekeeping
    plans: Plans
    dispatcher: Dispatcher
    publisher: Publisher
    tally: Tally
    leadership: Leadership
    max_value_bytes: int = 1_048_576
    large: LargeValues = NOWHERE


class _Probe(NamedTuple):
    """The last probe of a shard, and when to send the next should it not come through."""

    sent_at: float
    patience_seconds: float

    def is_due(self, received: float, now: float, is_served: bool) -> bool:
        patience_seconds = PROBE_AGAIN_SECONDS if is_served else self.patience_seconds
        return now - self.sent_at >= (PROBE_SECONDS if received >= self.sent_at else patience_seconds)

    def next(self, received: float, now: float, is_served: bool) -> _Probe:
        if received >= self.sent_at or is_served:
            return _Probe(now, PROBE_AGAIN_SECONDS)
        return _Probe(now, min(self.patience_seconds * 2, PROBE_AGAIN_CAP_SECONDS))


_NO_PROBE = _Probe(0.0, PROBE_AGAIN_SECONDS)


class Keeper:
    """Keeps every unfinished node moving in the partitions it leads. ``run_pass`` is called about once a second."""

    def __init__(self, parts: KeeperParts, namespace: str, shards: int, grace_seconds: float) -> None:
        """``grace_seconds`` is how long a keeper that is new, or has lost the store, takes no holder for dead."""
        self._parts = parts
        self._namespace = namespace
        self._shards = shards
        self._grace_seconds = grace_seconds
        self._watching_since: float | None = None
        self._probes: dict[str, _Probe] = {}
        self._tidied_at = 0.0

    async def run_pass(self) -> None:
        """Do what is due in the partitions that this process leads, which is found out first.

        :raises StoreUnavailableError: the pass ended half-way, which does no harm.
        """
        # A pass that fails half-way leaves it so, and the grace begins again: leases may have lapsed meanwhile.
        since, self._watching_since = self._watching_since, None
        now = await aside(self._parts.housekeeping.time)
        await self._parts.leadership.renew(now)
        if self._parts.leadership.epochs:
            await self._keep(now, patient=since is None or now - since < self._grace_seconds)
        self._watching_since = now if since is None else since

    async def _keep(self, now: float, patient: bool) -> None:
        overdue = 0
        for pool in await aside(self._parts.housekeeping.pools):
            received = await aside(self._parts.housekeeping.probes, pool)
            if PROBING_PARTITION in self._parts.leadership.epochs:
                self._probe(pool, received, now)
            if not patient:
                overdue += await self._look_after_overdue(pool, received)
        self._parts.tally.set("keeper_overdue", overdue)
        await self._tidy(now)

    def _probe(self, pool: str, received: Mapping[str, float], now: float) -> None:
        probes = {queue: self._probes.get(queue, _NO_PROBE) for queue in self._queues(pool)}
        is_served = now - max(received.values(), default=0.0) < SERVED_SECONDS
        due = {
            queue: probe for queue, probe in probes.items() if probe.is_due(received.get(queue, 0.0), now, is_served)
        }
        for queue, probe in due.items():
            self._probes[queue] = probe.next(received.get(queue, 0.0), now, is_served)
        if due:
            self._parts.publisher.publish(
                [DirectMessage(queue, encode_message(ProbeMessage(pool, queue, now))) for queue in due]
            )

    async def _look_after_overdue(self, pool: str, received: Mapping[str, float]) -> int:
        """Returns how many nodes were looked after."""
        queues = self._queues(pool)
        if not all(queue in received for queue in queues):
            return 0
        proven = min(received[queue] for queue in queues) - PUBLISH_MARGIN_SECONDS
        led = dict(self._parts.leadership.epochs)
        keys = await aside(self._parts.housekeeping.overdue, pool, proven, NODES_PER_PASS, led)
        if keys:
            await self._redrive(pool, await aside(look_up, self._parts.reader, self._parts.plans, keys), led)
        return len(keys)

    async def _redrive(self, pool: str, overdue: Sequence[LookedUp], led: Mapping[int, int]) -> None:
        """Publish again what nobody has. What is gone is forgotten; what cannot be read makes room for the others."""
        movable = [each for each in overdue if each.plan is not None or each.is_gone]
        answers = await aside(self._parts.store.redrive_nodes, [(each.key, pool) for each in movable], led)
        answered = list(zip(movable, answers, strict=True))
        self._publish(answered)
        await self._ask_holders(pool, [each.key for each, answer in answered if answer.word is Word.HELD])
        unreadable = [each.key for each in overdue if each.plan is None and not each.is_gone]
        unreadable += [each.key for each, answer in answered if answer.word is Word.BROKEN]
        if unreadable:
            await aside(self._parts.housekeeping.postpone, pool, unreadable)

    async def _ask_holders(self, pool: str, held: Sequence[NodeKey]) -> None:
        """A holder that lives may have ended a node and the store have lost that: only the holder knows."""
        records = await aside(self._parts.reader.node_records, held)
        questions = [
            Question(record.holder, key, record.token, pool)
            for key, record in zip(held, records, strict=True)
            if record is not None and record.state is NodeState.RUNNING
        ]
        if questions:
            await aside(self._parts.housekeeping.ask_holders, questions)

    def _publish(self, answered: Sequence[tuple[LookedUp, Renewed]]) -> None:
        ready = [
            Ready(each.plan, each.key.run_id, each.key.node, each.shard_key, answer.attempt, answer.token)
            for each, answer in answered
            if answer.word is Word.REDRIVE and each.plan is not None
        ]
        if ready:
            self._parts.dispatcher.publish(ready)
            self._parts.tally.count("redriven_total", amount=len(ready))
            _log.warning("%d nodes had no message or no holder any more and were published again", len(ready))

    async def _tidy(self, now: float) -> None:
        if now - self._tidied_at >= RETENTION_PASS_SECONDS:
            await aside(self._parts.housekeeping.forget_ended_runs)
            await aside(self._parts.housekeeping.forget_lapsed_holders)
            self._tidied_at = now

    def _queues(self, pool: str) -> list[str]:
        return [shard_queue_name(self._namespace, pool, shard) for shard in range(self._shards)]
