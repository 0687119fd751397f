"""One pass of the keeper, in bounded steps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from taskmesh.broker.protocol import DirectMessage, Publisher, shard_queue_name
from taskmesh.dispatch.dispatcher import Dispatcher, Ready
from taskmesh.dispatch.plan import Plan, Plans
from taskmesh.errors import WireError
from taskmesh.observability.tally import Tally
from taskmesh.store.calls import NodeKey, Renewed, Word
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.wire.messages import ProbeMessage, encode_message

NODES_PER_PASS = 200
"""How many nodes of one partition's outbox one pass looks after."""

PROBE_AGAIN_SECONDS = 10.0
"""A probe that has not come through is sent again after this long: its queue may have been deleted."""

PUBLISH_MARGIN_SECONDS = 5.0
"""A node may be published this long after it was due; only a probe sent later than that proves it lost."""

RETENTION_PASS_SECONDS = 60.0

PROBE_SECONDS = 1.0

_Known: TypeAlias = tuple[NodeKey, Plan, str]

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


class Keeper:
    """Keeps every unfinished node moving. ``run_pass`` is called about once a second."""

    def __init__(self, parts: KeeperParts, holder: str, namespace: str, shards: int, lease_seconds: float) -> None:
        self._parts = parts
        self._holder = holder
        self._namespace = namespace
        self._shards = shards
        self._lease_seconds = lease_seconds
        self._sent: dict[str, float] = {}
        self._tidied_at = 0.0

    def run_pass(self) -> bool:
        """Do what is due; False when another process is the keeper.

        :raises StoreUnavailableError: the pass ended half-way, which does no harm.
        """
        if not self._parts.housekeeping.hold_keeper(self._holder, self._lease_seconds):
            return False
        now = self._parts.housekeeping.time()
        for pool in self._parts.housekeeping.pools():
            self._probe(pool, now)
            self._look_after_overdue(pool)
        self._tidy(now)
        return True

    def _probe(self, pool: str, now: float) -> None:
        received = self._parts.housekeeping.probes(pool)
        sent = self._sent
        due = [queue for queue in self._queues(pool) if _is_due(sent.get(queue, 0.0), received.get(queue, 0.0), now)]
        sent.update(dict.fromkeys(due, now))
        if due:
            self._parts.publisher.publish(
                [DirectMessage(queue, encode_message(ProbeMessage(pool, queue, now))) for queue in due]
            )

    def _look_after_overdue(self, pool: str) -> None:
        received = self._parts.housekeeping.probes(pool)
        queues = self._queues(pool)
        if not all(queue in received for queue in queues):
            return
        proven = min(received[queue] for queue in queues) - PUBLISH_MARGIN_SECONDS
        keys = self._parts.housekeeping.overdue(pool, proven, NODES_PER_PASS)
        if keys:
            self._redrive(keys)

    def _redrive(self, keys: Sequence[NodeKey]) -> None:
        known = list(self._plans_of(keys))
        answers = self._parts.store.redrive_nodes([(key, plan.pool_of(key.node)) for key, plan, _ in known])
        count = self._publish(known, answers)
        if count:
            self._parts.tally.count("redriven_total", amount=count)
            _log.warning("%d nodes had no message or no holder any more and were published again", count)

    def _publish(self, known: Sequence[_Known], answers: Sequence[Renewed]) -> int:
        ready = [
            Ready(plan, key.run_id, key.node, shard_key, answer.attempt, answer.token)
            for (key, plan, shard_key), answer in zip(known, answers, strict=True)
            if answer.word is Word.REDRIVE
        ]
        self._parts.dispatcher.publish(ready)
        return len(ready)

    def _plans_of(self, keys: Iterable[NodeKey]) -> Iterator[_Known]:
        for key in keys:
            flow_hash, shard_key = self._parts.reader.run_fields(key.run_id, ("flow", "shard_key"))
            if flow_hash is None or shard_key is None:
                continue
            try:
                plan = self._parts.plans.get(flow_hash.decode(), key.run_id)
            except WireError as error:
                _log.error("the flow of run %s cannot be read: %s", key.run_id, error, extra={"run": key.run_id})
                continue
            if plan is not None:
                yield key, plan, shard_key.decode()

    def _tidy(self, now: float) -> None:
        if now - self._tidied_at >= RETENTION_PASS_SECONDS:
            self._parts.housekeeping.forget_ended_runs()
            self._parts.housekeeping.forget_lapsed_holders()
            self._tidied_at = now

    def _queues(self, pool: str) -> list[str]:
        return [shard_queue_name(self._namespace, pool, shard) for shard in range(self._shards)]


def _is_due(sent: float, received: float, now: float) -> bool:
    came_through = received >= sent
    return now - sent >= (PROBE_SECONDS if came_through else PROBE_AGAIN_SECONDS)
