"""What the store holds of the runs of an experiment, read past every proxy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from taskmesh.broker.protocol import shard_queue_name
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.model.states import RunState
from taskmesh.store.keys import Keys
from taskmesh.store.letters import DeadLetterFilter, Letters
from taskmesh.store.link import Command, Reply, value_of
from taskmesh.store.opening import open_link
from taskmesh.store.reader import Reader
from taskmesh.store.records import RunRecord
from tests.nemesis.patient_link import PatientLink
from tests.nemesis.snapshot import Snapshot, answered, asking

PARTITIONS = 16
POOL = "default"


class Ledger:
    """Reads one namespace."""

    def __init__(self, store_url: str, namespace: str) -> None:
        self._link = PatientLink(open_link(store_url, 2.0, 5.0))
        self._namespace = namespace
        self.keys = Keys(namespace, PARTITIONS)
        self.reader = Reader(self._link, self.keys)
        self._letters = Letters(self._link, self.keys, most=0, most_bytes=0)
        self._plans = Plans(self.reader.flow_body)

    def close(self) -> None:
        self._link.close()

    def ask(self, *words: str | int | float) -> Reply:
        """The answer to one command."""
        [reply] = self._link.exchange([Command(str(words[1]) if len(words) > 1 else "", *words)])
        return value_of(reply)

    def states(self, run_ids: Sequence[str]) -> list[RunState | None]:
        return self.reader.statuses(run_ids)

    def plan_of(self, record: RunRecord) -> Plan:
        plan = self._plans.get(record.flow_hash, record.summary.run_id)
        assert plan is not None, f"the flow of run {record.summary.run_id} is gone"
        return plan

    def snapshots(self, run_ids: Sequence[str]) -> list[Snapshot]:
        """Each of these runs that is there, whole and at one moment."""
        found = [(run_id, plan) for run_id in run_ids if (plan := self._plan_of_run(run_id)) is not None]
        commands = [command for run_id, plan in found for command in asking(self.keys, run_id, plan)]
        replies = [value_of(reply) for reply in self._link.exchange(commands)] if commands else []
        # Of each transaction only the last answer says something.
        last = [at for at, command in enumerate(commands) if command.arguments[0] == "EXEC"]
        return [answered(run_id, plan, replies[at]) for (run_id, plan), at in zip(found, last, strict=True)]

    def _plan_of_run(self, run_id: str) -> Plan | None:
        hash_: bytes | None = self.ask("HGET", self.keys.run(run_id), "flow")
        return self._plans.get(hash_.decode(), run_id) if hash_ else None

    def due(self) -> list[str]:
        """Members of all outboxes: nodes that somebody must still do something for."""
        return self._members([partition.outbox(POOL) for partition in self.keys.partitions])

    def timers(self) -> list[str]:
        """Nodes that wait for a time."""
        return self._members([partition.timers for partition in self.keys.partitions])

    def recorded_ticks(self) -> list[str]:
        """Ticks of schedules that are decided about and whose runs are not known to be admitted."""
        return self._members([partition.due_ticks for partition in self.keys.partitions])

    def open_runs(self) -> list[str]:
        return self._members([partition.open_runs for partition in self.keys.partitions])

    def flows_in_use(self) -> dict[str, int]:
        """Flows that count runs which have not ended."""
        keys = [key for key in self._names("*:flow:*")]
        counts = {key: int(self.ask("HGET", key, "open_runs") or 0) for key in keys}
        return {key: count for key, count in counts.items() if count}

    def without_expiry(self, run_ids: Sequence[str]) -> list[str]:
        """Keys that belong to these runs, or to any flow, and will never expire."""
        owners = {"flow", *run_ids}
        keys = [key for key in self._names("*") if not owners.isdisjoint(re.split("[:/]", key))]
        return [key for key in keys if self.ask("TTL", key) == -1]

    def dead_letters(self) -> list[str]:
        """The reason of every dead letter that has been collected."""
        return [f"{letter.reason}: {letter.detail}" for letter in self._letters.find(DeadLetterFilter(), 0.0)]

    def probes(self) -> dict[str, float]:
        return self._times(self.ask("HGETALL", self.keys.probes(POOL)))

    def shard_queues(self, shards: int) -> list[str]:
        return [shard_queue_name(self._namespace, POOL, shard) for shard in range(shards)]

    def _members(self, keys: Sequence[str]) -> list[str]:
        return [member.decode() for key in keys for member in self.ask("ZRANGE", key, 0, -1)]

    def _times(self, flat: Sequence[bytes]) -> dict[str, float]:
        return {name.decode(): float(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}

    def _names(self, pattern: str) -> list[str]:
        cursor, found = 0, []
        while True:
            answer = self.ask("SCAN", cursor, "MATCH", f"{self._namespace}:{pattern}", "COUNT", 1000)
            cursor = int(answer[0])
            found += [name.decode() for name in answer[1]]
            if not cursor:
                return found
