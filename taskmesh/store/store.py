"""Every transition of a run, as batches: one method for each Lua script, named like it.

A call that raised ``StoreUnavailableError`` may or may not have happened. Each may be made again with the same
arguments: it answers the same and counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.calls import (
    Admission,
    Claim,
    ClaimAnswer,
    NodeKey,
    Release,
    Renewed,
    Settlement,
    Spreading,
    Told,
    Word,
)
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, value_of
from taskmesh.store.scripts import Scripts

SERVER_TIME = ""
"""As the time of a script call: take the server's own clock."""


class Store:
    """The state of all runs below one namespace. ``holder`` names this process where it claims."""

    def __init__(self, link: Link, keys: Keys, retention_seconds: float, now: str = SERVER_TIME) -> None:
        self.link = link
        self.keys = keys
        self._scripts = Scripts()
        self._retention_ms = int(retention_seconds * 1000)
        self.now = now

    def admit_runs(self, admissions: Sequence[Admission], with_flow: bool = False) -> list[Told]:
        """Store runs; those whose flow the partition lacks answer ``flow_missing`` unless ``with_flow``."""
        return [_admitted(reply) for reply in self._run([self._admit(each, with_flow) for each in admissions])]

    def claim_nodes(self, claims: Sequence[Claim], holder: str) -> list[ClaimAnswer]:
        return [_claim_answer(reply) for reply in self._run([self._claim(each, holder) for each in claims])]

    def settle_nodes(self, settlements: Sequence[Settlement]) -> list[Told]:
        return [_told(reply) for reply in self._run([self._settle(each) for each in settlements])]

    def spread_nodes(self, spreadings: Sequence[Spreading]) -> list[Told]:
        return [_told(reply) for reply in self._run([self._spread(each) for each in spreadings])]

    def release_nodes(self, releases: Sequence[Release]) -> list[Renewed]:
        return [_renewed(reply) for reply in self._run([self._release(each) for each in releases])]

    def redrive_nodes(self, nodes: Sequence[tuple[NodeKey, str]]) -> list[Renewed]:
        """Prepare to publish nodes again that nobody has; each comes with its pool."""
        return [_renewed(reply) for reply in self._run([self._redrive(key, pool) for key, pool in nodes])]

    def halt_run(self, run_id: str, status: str) -> tuple[Word, str]:
        """Let nothing new start; the second value is the status of a run that had ended before."""
        [reply] = self._run([self._script("halt_run", [self.keys.run(run_id)], [self.now, status])])
        return Word(reply[0].decode()), reply[1].decode() if len(reply) > 1 else ""

    def watch_run(self, run_id: str) -> None:
        """Have each transition of a run announced from now on; nothing happens where there is no such run."""
        self._run([self._script("watch_run", [self.keys.run(run_id)], [])])

    def _run(self, commands: list[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self.link.exchange(commands)]

    def _script(self, name: str, keys: list[str], arguments: Sequence[str | bytes | int | float]) -> Command:
        return Command.of_script(self._scripts[name], keys, arguments)

    def _admit(self, each: Admission, with_flow: bool) -> Command:
        keys, partition = self.keys, self.keys.partition_of(each.run_id)
        return self._script(
            "admit_run",
            [
                keys.run(each.run_id),
                keys.flow(partition, each.flow_hash),
                keys.open_runs(partition),
                *(keys.outbox(partition, pool) for pool in each.pools),
            ],
            [
                self.now,
                each.run_id,
                each.digest,
                each.flow_body if with_flow else b"",
                each.header,
                each.flow_hash,
                each.params,
                each.shard_key,
                each.node_count,
                each.edges,
                int(each.complete),
            ],
        )

    def _claim(self, each: Claim, holder: str) -> Command:
        keys, (run_id, node) = self.keys, each.key
        partition = keys.partition_of(run_id)
        return self._script(
            "claim_node",
            [keys.run(run_id), keys.holders(partition)],
            [self.now, node, each.token, holder, *each.fields],
        )

    def _settle(self, each: Settlement) -> Command:
        keys, (run_id, node) = self.keys, each.key
        partition = keys.partition_of(run_id)
        return self._script(
            "settle_node",
            [
                keys.run(run_id),
                keys.flow(partition, each.flow_hash),
                keys.open_runs(partition),
                keys.closed_runs(partition),
                keys.outbox(partition, each.pool),
                *(keys.outbox(partition, pool) for pool in each.pools),
            ],
            [
                self.now,
                run_id,
                node,
                each.token,
                each.state,
                each.output,
                each.error,
                each.halt,
                each.edges,
                int(each.last),
                self._retention_ms,
            ],
        )

    def _spread(self, each: Spreading) -> Command:
        keys, (run_id, node) = self.keys, each.key
        partition = keys.partition_of(run_id)
        return self._script(
            "spread_node",
            [
                keys.run(run_id),
                keys.flow(partition, each.flow_hash),
                keys.open_runs(partition),
                keys.closed_runs(partition),
                keys.outbox(partition, each.pool),
                *(keys.outbox(partition, pool) for pool in each.pools),
            ],
            [self.now, run_id, node, each.told_before, each.edges, int(each.last), self._retention_ms],
        )

    def _release(self, each: Release) -> Command:
        keys, (run_id, node) = self.keys, each.key
        partition = keys.partition_of(run_id)
        return self._script(
            "release_node",
            [keys.run(run_id), keys.outbox(partition, each.pool)],
            [self.now, run_id, node, each.token, int(each.counts)],
        )

    def _redrive(self, key: NodeKey, pool: str) -> Command:
        keys, partition = self.keys, self.keys.partition_of(key.run_id)
        return self._script(
            "redrive_node",
            [keys.run(key.run_id), keys.outbox(partition, pool), keys.holders(partition)],
            [self.now, key.run_id, key.node],
        )


def _admitted(reply: Reply) -> Told:
    return Told(Word(reply[0].decode()), "running", tuple(reply[1:]))


def _claim_answer(reply: Reply) -> ClaimAnswer:
    word = Word(reply[0].decode())
    if word is Word.CLAIMED:
        halt = reply[3].decode() if reply[3] else ""
        return ClaimAnswer(word, reply[1], reply[2], halt, tuple(reply[4:]))
    return ClaimAnswer(word, spread=reply[1] if word is Word.ENDED else 0)


def _told(reply: Reply) -> Told:
    word = Word(reply[0].decode())
    if len(reply) == 1:
        return Told(word)
    count = reply[2]
    return Told(word, reply[1].decode(), tuple(reply[3 : 3 + count]), tuple(reply[3 + count :]))


def _renewed(reply: Reply) -> Renewed:
    word = Word(reply[0].decode())
    return Renewed(word, reply[1], reply[2]) if len(reply) > 1 else Renewed(word)
