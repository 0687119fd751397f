"""What the keeper and the workers tell the store about themselves: leases, lost work, probes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from taskmesh.model.checkup.settings_rules import SettingsReport
from taskmesh.store.calls import NodeKey, Question
from taskmesh.store.keys import Keys, Partition
from taskmesh.store.link import Argument, Command, Link, Reply, found_damage, value_of
from taskmesh.store.reader import scored
from taskmesh.store.records import NodeRecord, records_of
from taskmesh.store.scripts import Scripts
from taskmesh.store.store import SERVER_TIME
from taskmesh.wire import pack, unpack

LAPSED_HOLDER_KEPT_SECONDS = 3600.0

QUESTION_KEPT_MS = 60_000

INSTALLATION_BYTES = 12


class Housekeeping:
    """Leases of holders, the outboxes' old entries, probes, retention."""

    def __init__(self, link: Link, keys: Keys, retention_seconds: float, now: str = SERVER_TIME) -> None:
        self._link = link
        self._keys = keys
        self._scripts = Scripts()
        self._retention_seconds = retention_seconds
        self._now = now

    def time(self) -> float:
        """The store's clock, in epoch seconds."""
        seconds, microseconds = self._one(Command(self._keys.keepers, "TIME"))
        return int(seconds) + int(microseconds) / 1_000_000

    def installation(self) -> str:
        """What tells the state of this namespace from that in any other Redis, and with other partitions."""
        key = self._keys.installation
        self._one(Command(key, "SET", key, secrets.token_hex(INSTALLATION_BYTES), "NX"))
        return f"{self._one(Command(key, 'GET', key)).decode()}/{len(self._keys.partitions)}"

    def renew_holder(self, holder: str, lease_seconds: float) -> bool:
        """Say that ``holder`` lives; False when its lease was over, so that others may have taken its nodes."""
        script = self._scripts["renew_holder"]
        arguments: list[Argument] = [self._now, holder, lease_seconds]
        keys = [partition.holders for partition in self._keys.partitions]
        replies = self._all([Command.of_script(script, [key], arguments) for key in keys])
        return all(reply[0] == b"renewed" for reply in replies)

    def end_holder(self, holder: str) -> None:
        """Make the lease of a dead or leaving holder lapse now."""
        keys = [partition.holders for partition in self._keys.partitions]
        self._all([Command(key, "ZREM", key, holder) for key in keys])

    def forget_lapsed_holders(self) -> None:
        """Take holders whose lease has long been over out of the lists."""
        before = self.time() - LAPSED_HOLDER_KEPT_SECONDS
        keys = [partition.holders for partition in self._keys.partitions]
        self._all([Command(key, "ZREMRANGEBYSCORE", key, "-inf", before) for key in keys])

    def overdue(self, pool: str, before: float, limit: int, partitions: Iterable[int] | None = None) -> list[NodeKey]:
        """Nodes of a pool that were due before a time and have not ended: at most ``limit`` of each partition."""
        keys = [partition.outbox(pool) for partition in self._chosen(partitions)]
        replies = self._all(
            [Command(key, "ZRANGEBYSCORE", key, "-inf", f"({before}", "LIMIT", 0, limit) for key in keys]
        )
        return [NodeKey.parse(member.decode()) for reply in replies for member in reply]

    def timers(self, before: float, limit: int, partitions: Iterable[int] | None = None) -> list[tuple[NodeKey, float]]:
        """Nodes whose next attempt is due before a time, and when: at most ``limit`` of each partition."""
        keys = [partition.timers for partition in self._chosen(partitions)]
        replies = self._all(
            [Command(key, "ZRANGEBYSCORE", key, "-inf", before, "WITHSCORES", "LIMIT", 0, limit) for key in keys]
        )
        return [(NodeKey.parse(member), due) for reply in replies for member, due in scored(reply)]

    def halted_runs(self, before: float, limit: int, partitions: Iterable[int] | None = None) -> list[str]:
        """Halted runs that are to be looked at before a time, those of each partition: at most ``limit`` of each."""
        keys = [partition.halted for partition in self._chosen(partitions)]
        replies = self._all([Command(key, "ZRANGEBYSCORE", key, "-inf", before, "LIMIT", 0, limit) for key in keys])
        return [run_id.decode() for reply in replies for run_id in reply]

    def forget_halted(self, run_ids: Sequence[str]) -> None:
        """Look at halted runs no more."""
        keys = [self._keys.partition_of(run_id).halted for run_id in run_ids]
        self._all([Command(key, "ZREM", key, run_id) for key, run_id in zip(keys, run_ids, strict=True)])

    def postpone_halted(self, run_ids: Sequence[str], until: float) -> None:
        """Look at halted runs again later."""
        keys = [self._keys.partition_of(run_id).halted for run_id in run_ids]
        commands = zip(keys, run_ids, strict=True)
        self._all([Command(key, "ZADD", key, "XX", repr(until), run_id) for key, run_id in commands])

    def children(self, before: float, limit: int, partitions: Iterable[int] | None = None) -> list[str]:
        """Child runs whose parents are to be looked at before a time: at most ``limit`` of each partition."""
        keys = [partition.children for partition in self._chosen(partitions)]
        replies = self._all([Command(key, "ZRANGEBYSCORE", key, "-inf", before, "LIMIT", 0, limit) for key in keys])
        return [run_id.decode() for reply in replies for run_id in reply]

    def forget_children(self, run_ids: Sequence[str]) -> None:
        """Look at the parents of child runs no more."""
        keys = [self._keys.partition_of(run_id).children for run_id in run_ids]
        self._all([Command(key, "ZREM", key, run_id) for key, run_id in zip(keys, run_ids, strict=True)])

    def postpone_children(self, looks: Sequence[tuple[str, float]]) -> None:
        """Look at the parents of child runs again, of each at its time."""
        keyed = [(self._keys.partition_of(run_id).children, run_id, at) for run_id, at in looks]
        self._all([Command(key, "ZADD", key, "XX", repr(at), run_id) for key, run_id, at in keyed])

    def some_records(self, run_id: str, cursor: int, count: int) -> tuple[int, dict[int, NodeRecord]]:
        """The records of about ``count`` nodes of a run, and the cursor of the next; it begins and ends with 0."""
        key = self._keys.run(run_id)
        after, flat = self._one(Command(key, "HSCAN", key, cursor, "MATCH", "node:*", "COUNT", count))
        return int(after), records_of(dict(zip(flat[::2], flat[1::2], strict=True)))

    def retrying_nodes(self, run_id: str, limit: int) -> list[int]:
        """At most ``limit`` nodes of a run that wait for their next attempt."""
        key = self._keys.partition_of(run_id).retrying(run_id)
        [reply] = self._link.exchange([Command(key, "SRANDMEMBER", key, limit)])
        return [] if found_damage(reply) else [int(node) for node in value_of(reply)]

    def forget_timer(self, timer: NodeKey) -> None:
        key = self._keys.partition_of(timer.run_id).timers
        self._one(Command(key, "ZREM", key, timer.member))

    def postpone_timers(self, timers: Sequence[NodeKey], until: float) -> None:
        """Put timers that cannot be rung now behind the others."""
        keys = [self._keys.partition_of(timer.run_id).timers for timer in timers]
        commands = zip(keys, timers, strict=True)
        self._all([Command(key, "ZADD", key, "XX", repr(until), timer.member) for key, timer in commands])

    def postpone(self, pool: str, keys: Sequence[NodeKey]) -> None:
        """Put overdue nodes behind the others, so that what cannot be helped now does not hide what can."""
        now = repr(self.time())
        outboxes = [self._keys.partition_of(key.run_id).outbox(pool) for key in keys]
        self._all([Command(box, "ZADD", box, "XX", now, key.member) for box, key in zip(outboxes, keys, strict=True)])

    def ask_holders(self, questions: Sequence[Question]) -> None:
        """Leave questions for holders; one that stays unanswered is forgotten and may be asked again."""
        for_each = [(self._keys.questions(each.holder), pack(each[1:])) for each in questions]
        self._all([Command(key, "SADD", key, question) for key, question in for_each])
        self._all([Command(key, "PEXPIRE", key, QUESTION_KEPT_MS) for key in dict(for_each)])

    def take_questions(self, holder: str, limit: int) -> list[Question]:
        """What has been asked of a holder since the last call, at most ``limit``."""
        key = self._keys.questions(holder)
        rows = [unpack(question) for question in self._one(Command(key, "SPOP", key, limit))]
        return [Question(holder, NodeKey(*node), token, pool) for node, token, pool in rows]

    def note_probes(self, pool: str, sent: dict[str, float]) -> None:
        """Record for shard queues when the newest probe that came through was sent."""
        key = self._keys.probes(pool)
        flat = [part for queue, at in sent.items() for part in (queue, repr(at))]
        self._one(Command(key, "HSET", key, *flat))

    def probes(self, pool: str) -> dict[str, float]:
        """For each shard queue of a pool, when the newest probe that came through was sent."""
        key = self._keys.probes(pool)
        flat = self._one(Command(key, "HGETALL", key))
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {queue.decode(): float(at) for queue, at in pairs}

    def announce_pools(self, pools: Sequence[str]) -> None:
        key = self._keys.pools
        self._one(Command(key, "SADD", key, *pools))

    def serve_pools(self, holder: str, pools: Sequence[str], lease_seconds: float) -> None:
        """Say that ``holder`` consumes pools, as long as its lease."""
        now = self.time()
        self._all(
            [Command(key, "ZADD", key, repr(now + lease_seconds), holder) for key in map(self._keys.serving, pools)]
        )
        self._all([Command(key, "ZREMRANGEBYSCORE", key, "-inf", repr(now)) for key in map(self._keys.serving, pools)])

    def report_settings(self, holder: str, report: SettingsReport, lease_seconds: float) -> None:
        """Say with which settings ``holder`` runs, as long as its lease."""
        key = self._keys.settings_report(holder)
        self._one(Command(key, "SET", key, report.text, "PX", int(lease_seconds * 1000)))

    def settings_reports(self) -> dict[str, SettingsReport]:
        """With which settings each process runs that consumes a pool or could keep house."""
        now = repr(self.time())
        lists = [*map(self._keys.serving, self.pools()), self._keys.keepers]
        living = self._all([Command(key, "ZRANGEBYSCORE", key, now, "+inf") for key in lists])
        holders = sorted({holder.decode() for members in living for holder in members})
        keys = [self._keys.settings_report(holder) for holder in holders]
        found = zip(holders, self._all([Command(key, "GET", key) for key in keys]), strict=True)
        return {holder: SettingsReport.parse(text.decode()) for holder, text in found if text}

    def leave_pools(self, holder: str, pools: Sequence[str]) -> None:
        keys = [self._keys.serving(pool) for pool in pools]
        self._all([Command(key, "ZREM", key, holder) for key in keys])

    def pools(self) -> list[str]:
        """Every pool that workers have consumed."""
        key = self._keys.pools
        return sorted(pool.decode() for pool in self._one(Command(key, "SMEMBERS", key)))

    def forget_ended_runs(self) -> int:
        """Take runs whose retention is over out of the lists (the runs themselves expire)."""
        before = self.time() - self._retention_seconds
        keys = [partition.closed_runs for partition in self._keys.partitions]
        return sum(self._all([Command(key, "ZREMRANGEBYSCORE", key, "-inf", before) for key in keys]))

    def _chosen(self, numbers: Iterable[int] | None) -> list[Partition]:
        everything = self._keys.partitions
        return list(everything) if numbers is None else [everything[number] for number in numbers]

    def _one(self, command: Command) -> Reply:
        return self._all([command])[0]

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)]
