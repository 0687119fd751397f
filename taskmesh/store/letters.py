"""Dead letters: messages that no worker could use, kept until somebody replays or purges them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from taskmesh.store.keys import Keys
from taskmesh.store.link import Argument, Command, Link, Reply, value_of
from taskmesh.store.scripts import Scripts

MAX_KEPT_BYTES = 1024 * 1024
"""Of a longer message only the first part is kept. Messages of ours have at most 2 KiB, so it is somebody else's."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that no worker could use.

    ``at`` in epoch seconds, when it was given up; ``reason`` is one word, ``detail`` a sentence. ``queue`` is the shard
    that it came from, ``worker`` the I/O process that gave it up (empty when the broker did). ``run_id`` and ``node``
    (its place in the flow) are known when the bytes can be read. ``size`` in bytes is that of the whole message.
    """

    id: str
    at: float
    reason: str
    detail: str
    pool: str
    queue: str
    routing_key: str
    worker: str
    run_id: str | None
    node: int | None
    size: int

    @property
    def is_cut(self) -> bool:
        """Whether only the first part of its bytes is kept."""
        return self.size > MAX_KEPT_BYTES


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which letters are meant; what is None does not matter. Ages in seconds."""

    pool: str | None = None
    reason: str | None = None
    run_id: str | None = None
    older_than: float | None = None
    newer_than: float | None = None

    def matches(self, letter: DeadLetter, now: float) -> bool:
        wanted = ((self.pool, letter.pool), (self.reason, letter.reason), (self.run_id, letter.run_id))
        age = now - letter.at
        in_time = (self.older_than is None or age > self.older_than) and (
            self.newer_than is None or age < self.newer_than
        )
        return in_time and all(want is None or want == have for want, have in wanted)


class LetterTotals(NamedTuple):
    """How much is kept."""

    letters: int
    size: int


class Letters:
    """The dead letters of one namespace: at most ``most`` of them, and ``most_bytes`` of their bodies together."""

    def __init__(self, link: Link, keys: Keys, most: int, most_bytes: int) -> None:
        self._link = link
        self._keys = keys
        self._most = most
        self._most_bytes = most_bytes
        self._scripts = Scripts()

    def keep(self, letters: Sequence[tuple[DeadLetter, bytes]]) -> list[bool]:
        """Keep letters and their bytes; False for each for which there is no room.

        :raises StoreUnavailableError: what became of them is unknown; call again, none is kept twice.
        """
        replies = self._all([self._keeping(letter, body[:MAX_KEPT_BYTES]) for letter, body in letters])
        return [reply[0] == b"kept" for reply in replies]

    def forget(self, letter_ids: Sequence[str]) -> int:
        """Forget letters; returns how many were there."""
        script = self._scripts["forget_letter"]
        replies = self._all([Command.of_script(script, self._keys.letter_keys(each), [each]) for each in letter_ids])
        return sum(reply[0] == b"forgotten" for reply in replies)

    def totals(self) -> LetterTotals:
        totals = self._keys.letter_totals
        count, size = self._all(
            [Command(self._keys.letters, "ZCARD", self._keys.letters), Command(totals, "HGET", totals, "bytes")]
        )
        return LetterTotals(count, int(size or 0))

    def has_room(self) -> bool:
        """Whether a good part of the room is free again."""
        totals = self.totals()
        return totals.letters < 0.9 * self._most and totals.size < 0.9 * self._most_bytes

    def find(self, wanted: DeadLetterFilter, now: float, newest_first: bool = True) -> Iterator[DeadLetter]:
        """The letters that are meant, read in pages. ``now`` in epoch seconds, for their ages."""
        pages = self._pages(newest_first) if wanted.run_id is None else [self.ids_of_run(wanted.run_id)]
        for page in pages:
            found = [letter for letter in self._read(page) if wanted.matches(letter, now)]
            yield from sorted(found, key=lambda letter: -letter.at) if newest_first else found

    def ids_of_run(self, run_id: str) -> list[str]:
        """The letters that are messages of a run."""
        key = self._keys.letters_of_runs
        # What sorts between RUN/ and RUN0 begins with RUN/; a run whose id begins so has a further slash in it.
        [members] = self._all([Command(key, "ZRANGEBYLEX", key, f"[{run_id}/", f"({run_id}0")])
        pairs = (member.decode().rpartition("/") for member in members)
        return [letter_id for run, _, letter_id in pairs if run == run_id]

    def get(self, letter_id: str) -> tuple[DeadLetter, bytes] | None:
        """A letter and its bytes."""
        key = self._keys.letter(letter_id)
        [values, body] = self._all([Command(key, "HMGET", key, *_FIELDS), Command(key, "HGET", key, "body")])
        return None if values[0] is None else (_letter(letter_id, values), body)

    def _keeping(self, letter: DeadLetter, body: bytes) -> Command:
        run = letter.run_id
        values = (repr(letter.at), letter.reason, letter.detail, letter.pool, letter.queue, letter.routing_key)
        more = (letter.worker, run or "", "" if letter.node is None else letter.node, letter.size)
        fields = [part for pair in zip(_FIELDS, (*values, *more), strict=True) for part in pair]
        member = "" if run is None else f"{run}/{letter.id}"
        limits: list[Argument] = [self._most, self._most_bytes]
        arguments = [*limits, letter.id, repr(letter.at), len(body), member, *fields, "body", body]
        return Command.of_script(self._scripts["keep_letter"], self._keys.letter_keys(letter.id), arguments)

    def _pages(self, newest_first: bool) -> Iterator[list[str]]:
        key, command = self._keys.letters, "ZREVRANGE" if newest_first else "ZRANGE"
        for start in range(0, sys.maxsize, _PAGE):
            [page] = self._all([Command(key, command, key, start, start + _PAGE - 1)])
            if not page:
                return
            yield [letter_id.decode() for letter_id in page]

    def _read(self, letter_ids: Sequence[str]) -> Iterator[DeadLetter]:
        keys = [self._keys.letter(each) for each in letter_ids]
        rows = self._all([Command(key, "HMGET", key, *_FIELDS) for key in keys])
        for letter_id, values in zip(letter_ids, rows, strict=True):
            if values[0] is not None:
                yield _letter(letter_id, values)

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)] if commands else []


_FIELDS = ("at", "reason", "detail", "pool", "queue", "routing_key", "worker", "run_id", "node", "size")


def _letter(letter_id: str, values: Sequence[Any]) -> DeadLetter:
    at, reason, detail, pool, queue, routing_key, worker, run_id, node, size = (
        value.decode(errors="replace") for value in values
    )
    return DeadLetter(
        id=letter_id,
        at=float(at),
        reason=reason,
        detail=detail,
        pool=pool,
        queue=queue,
        routing_key=routing_key,
        worker=worker,
        run_id=run_id or None,
        node=int(node) if node else None,
        size=int(size),
    )
