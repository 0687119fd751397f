"""Every transition of a run, as batches: one method for each Lua script, named like it.

A call that raised ``StoreUnavailableError`` may or may not have happened. Each may be made again with the same
arguments: it answers the same and counts nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from taskmesh.store.calls import (
    Admission,
    Beat,
    Beaten,
    Claim,
    ClaimAnswer,
    Marking,
    NodeKey,
    Release,
    Renewed,
    Settlement,
    Spreading,
    Told,
    Word,
)
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, found_damage, value_of
from taskmesh.store.scripts import Scripts

SERVER_TIME = ""
"""As the time of a script call: take the server's own clock."""

A = TypeVar("A")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request(Generic[A]):
    """Calls that can be sent together with others, and how their answers are read.

    ``broken`` is the answer of a call that stopped at what it found, so that one bad run does not stop all others.
    """

    commands: list[Command]
    read: Callable[[Reply], A]
    broken: A | None = None

    def answers(self, replies: Sequence[Reply]) -> list[A]:
        """:raises StoreUnavailableError: the server refused one of the calls."""
        return [self._answer(at, reply) for at, reply in enumerate(replies)]

    def _answer(self, at: int, reply: Reply) -> A:
        if self.broken is not None and found_damage(reply):
            _log.error("what the store holds for %s is damaged: %s", self.commands[at].key, reply)
            return self.broken
        return self.read(value_of(reply))


class Store:
    """The state of all runs below one namespace."""

    def __init__(self, link: Link, keys: Keys, retention_seconds: float, now: str = SERVER_TIME) -> None:
        self.link = link
        self.keys = keys
        self._scripts = Scripts()
        self.retention_ms = int(retention_seconds * 1000)
        self.now = now

    def admit_runs(self, admissions: Sequence[Admission], with_flow: bool = False) -> list[Told]:
        """Store runs; those whose flow the partition lacks answer ``flow_missing`` unless ``with_flow``."""
        return self.ask(Request([self._admit(each, with_flow) for each in admissions], _admitted))

    def claiming(self, claims: Sequence[Claim], holder: str) -> Request[ClaimAnswer]:
        return Request([self._claim(each, holder) for each in claims], _claim_answer, ClaimAnswer(Word.BROKEN))

    def claim_nodes(self, claims: Sequence[Claim], holder: str) -> list[ClaimAnswer]:
        return self.ask(self.claiming(claims, holder))

    def settling(self, settlements: Sequence[Settlement], holder: str) -> Request[Told]:
        """What ends in a retry goes to ``retry_node``, everything else to ``settle_node``.

        Here and below, ``holder`` is who claimed: nobody else may say what became of a node, not even with its token.
        """
        commands = [
            self._retry(each, holder) if each.state == "retrying" else self._settle(each, holder)
            for each in settlements
        ]
        return Request(commands, read_told, Told(Word.BROKEN))

    def settle_nodes(self, settlements: Sequence[Settlement], holder: str) -> list[Told]:
        return self.ask(self.settling(settlements, holder))

    def spread_nodes(self, spreadings: Sequence[Spreading]) -> list[Told]:
        return self.ask(Request([self._spread(each) for each in spreadings], read_told, Told(Word.BROKEN)))

    def release_nodes(self, releases: Sequence[Release], holder: str) -> list[Renewed]:
        return self.ask(Request([self._release(each, holder) for each in releases], read_renewed, Renewed(Word.BROKEN)))

    def redrive_nodes(
        self, nodes: Sequence[tuple[NodeKey, str]], epochs: Mapping[int, int] | None = None
    ) -> list[Renewed]:
        """Prepare to publish nodes again that nobody has; each comes with its pool.

        A keeper gives the epochs of the partitions that it leads: where another one leads by now, the answer is stale.
        """
        commands = [self._redrive(key, pool, epochs) for key, pool in nodes]
        return self.ask(Request(commands, read_renewed, Renewed(Word.BROKEN)))

    def wake_nodes(self, nodes: Sequence[tuple[NodeKey, str]]) -> list[Renewed]:
        """Make retrying nodes ready that are due, or whose run is halted; each comes with its pool."""
        commands = [self._wake(key, pool) for key, pool in nodes]
        return self.ask(Request(commands, read_renewed, Renewed(Word.BROKEN)))

    def beat_nodes(self, beats: Sequence[Beat], holder: str) -> list[Beaten]:
        """Keep the checkpoints of running attempts, and hear whether they should go on."""
        return self.ask(Request([self._beat(each, holder) for each in beats], _beaten, Beaten(Word.BROKEN)))

    def watch_run(self, run_id: str) -> None:
        """Have each transition of a run announced from now on; nothing happens where there is no such run."""
        self._run([self.script("watch_run", [self.keys.run(run_id)], [])])

    def ask(self, request: Request[A]) -> list[A]:
        """Make the calls of a request now."""
        return request.answers(self.link.exchange(request.commands))

    def _run(self, commands: list[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self.link.exchange(commands)]

    def script(self, name: str, keys: list[str], arguments: Sequence[str | bytes | int | float]) -> Command:
        """A call of one script."""
        return Command.of_script(self._scripts[name], keys, arguments)

    def _admit(self, each: Admission, with_flow: bool) -> Command:
        keys = self.keys.partition_of(each.run_id)
        due = [keys.timers] * (each.deadline_seconds is not None) + [keys.children] * (each.look_seconds is not None)
        return self.script(
            "admit_run",
            [keys.run(each.run_id), keys.flow(each.flow_hash), keys.open_runs, *keys.outboxes(each.pools), *due],
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
                "" if each.deadline_seconds is None else each.deadline_seconds,
                "" if each.undo_base is None else each.undo_base,
                *(len(each.items) or "", "" if each.look_seconds is None else each.look_seconds, *each.further),
            ],
        )

    def _claim(self, each: Claim, holder: str) -> Command:
        run_id, node = each.key
        keys = self.keys.partition_of(run_id)
        return self.script(
            "claim_node", [keys.run(run_id), keys.holders], [self.now, node, each.token, holder, *each.fields]
        )

    def _settle(self, each: Settlement, holder: str) -> Command:
        return self.script(
            "settle_node",
            self._keys_of_settling(each),
            [
                self.now,
                *each.key,
                each.token,
                each.state,
                each.output,
                each.error,
                each.halt,
                each.edges,
                int(each.last),
                self.retention_ms,
                each.cause,
                int(each.can_be_undone),
                int(each.compensates),
                holder,
                each.special,
                *(int(each.handled), each.bound, "" if each.tolerated is None else each.tolerated),
            ],
        )

    def _keys_of_settling(self, each: Settlement) -> list[str]:
        keys = self.keys_of_telling(each)
        return [*keys, self.keys.partition_of(each.key.run_id).halted] if each.halt else keys

    def _spread(self, each: Spreading) -> Command:
        run_id, node = each.key
        children = [self.keys.partition_of(run_id).children] if each.tells_parent else []
        return self.script(
            "spread_node",
            [*self.keys_of_telling(each), *children],
            [self.now, run_id, node, each.told_before, each.edges, int(each.last), self.retention_ms, each.special],
        )

    def keys_of_telling(self, each: Settlement | Spreading | Marking) -> list[str]:
        """The keys of a script that tells dependents."""
        run_id = each.key.run_id
        keys = self.keys.partition_of(run_id)
        return [
            keys.run(run_id),
            keys.flow(each.flow_hash),
            keys.open_runs,
            keys.closed_runs,
            keys.outbox(each.pool),
            *keys.outboxes(each.pools),
        ]

    def _retry(self, each: Settlement, holder: str) -> Command:
        return self.script(
            "retry_node",
            self.keys_of_retrying(each.key, each.pool),
            [
                self.now,
                *each.key,
                each.token,
                each.delay_seconds,
                each.error,
                int(each.counts),
                each.cause,
                holder,
                int(each.outlasts_halt),
                each.ticket,
            ],
        )

    def _wake(self, key: NodeKey, pool: str) -> Command:
        return self.script("wake_node", self.keys_of_retrying(key, pool), [self.now, *key])

    def keys_of_retrying(self, key: NodeKey, pool: str) -> list[str]:
        keys = self.keys.partition_of(key.run_id)
        return [keys.run(key.run_id), keys.outbox(pool), keys.timers, keys.retrying(key.run_id)]

    def _beat(self, each: Beat, holder: str) -> Command:
        key = self.keys.run(each.key.run_id)
        return self.script("beat_node", [key], [each.key.node, each.token, each.checkpoint, holder])

    def _release(self, each: Release, holder: str) -> Command:
        run_id, node = each.key
        keys = self.keys.partition_of(run_id)
        return self.script(
            "release_node",
            [keys.run(run_id), keys.outbox(each.pool)],
            [self.now, run_id, node, each.token, int(each.counts), holder],
        )

    def _redrive(self, key: NodeKey, pool: str, epochs: Mapping[int, int] | None) -> Command:
        keys = self.keys.partition_of(key.run_id)
        return self.script(
            "redrive_node",
            [keys.run(key.run_id), keys.outbox(pool), keys.holders, keys.timers, keys.keeper],
            [self.now, key.run_id, key.node, "" if epochs is None else epochs[keys.number]],
        )


WORDS = {word.value.encode(): word for word in Word}


def _admitted(reply: Reply) -> Told:
    return Told(WORDS[reply[0]], "running", tuple(reply[1:]))


def _claim_answer(reply: Reply) -> ClaimAnswer:
    word = WORDS[reply[0]]
    if word is Word.CLAIMED:
        _, attempt, token, retries, crashes, past, waited_ms, open_ms, checkpoint, left_ms, halt, said, *fields = reply
        reason, times = halt.decode() if halt else "", (waited_ms / 1000, open_ms / 1000)
        left = left_ms / 1000 if isinstance(left_ms, int) else None
        counts, said = (0, retries, crashes), said or b""
        return ClaimAnswer(word, attempt, token, reason, tuple(fields), *counts, *times, checkpoint, left, past, said)
    return ClaimAnswer(word, spread=reply[1] if word is Word.ENDED else 0)


def _beaten(reply: Reply) -> Beaten:
    return Beaten(WORDS[reply[0]], reply[1].decode() if len(reply) > 1 else "")


def read_told(reply: Reply) -> Told:
    """The answer of a script that told dependents."""
    word = WORDS[reply[0]]
    if len(reply) == 1:
        return Told(word)
    count = reply[2]
    return Told(word, reply[1].decode(), tuple(reply[3 : 3 + count]), tuple(reply[3 + count :]))


def read_renewed(reply: Reply) -> Renewed:
    """The answer of a script that may have made a node ready."""
    word = WORDS[reply[0]]
    return Renewed(word, reply[1], reply[2]) if len(reply) > 1 else Renewed(word)
