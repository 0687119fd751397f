"""Events and the nodes that wait for them, each under a key: what ``model.events.waits`` reckons.

As for every call of the store: one that raised ``StoreUnavailableError`` may be made again with the same arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from taskmesh.errors import WireError
from taskmesh.model.events.waits import Awaited
from taskmesh.store.calls import Admission, NodeKey, Word
from taskmesh.store.keys import Partition
from taskmesh.store.link import Command, Reply
from taskmesh.store.store import WORDS, Request, Store
from taskmesh.wire import pack, unpack

MAX_AWAITED = 50
"""Different sets of paths, and times for which events are kept, by which nodes wait for one type of events."""

NOTED_SECONDS = 60 * 86_400.0
"""For so long after a run was admitted, or one of its nodes began to wait, its events are kept."""

MAX_WAITING = 1000
"""Nodes that wait under one key."""

MAX_KEPT = 20
"""Events that are kept under one key."""

MAX_KEPT_BYTES = 16 * 1024 * 1024
"""Of the events that one partition keeps."""


A = TypeVar("A")


class Keeping(NamedTuple):
    """An event to keep under a key; ``name`` is the same for the same event."""

    key: str
    name: str
    event: bytes
    seconds: float


class Waiter(NamedTuple):
    """A node that waits, and how many attempts it had before its run was reopened: that tells its waits apart."""

    node: NodeKey
    past: int

    @classmethod
    def parse(cls, member: str) -> Waiter:
        node, _, past = member.rpartition("/")
        return cls(NodeKey.parse(node), int(past))

    @property
    def member(self) -> str:
        return f"{self.node.member}/{self.past}"


class Registration(NamedTuple):
    """A node that begins to wait under a key, for so long. Events may be so old as ``keep_seconds``."""

    key: str
    waiter: Waiter
    seconds: float
    keep_seconds: float


class Kept(NamedTuple):
    """What became of an event: how many others had to go for it, and which nodes wait for it."""

    word: Word
    dropped: int = 0
    waiters: Sequence[Waiter] = ()


class Registered(NamedTuple):
    """``kept``, with the events that have come, ``full`` or ``broken``."""

    word: Word
    events: Sequence[bytes] = ()


class EventWaits:
    """Where events and nodes find each other."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def awaited(self, types: Collection[str]) -> Request[Sequence[Awaited]]:
        """Asks what nodes wait for of each of these types."""
        keys = [self._store.keys.awaited(each) for each in types]
        return Request([Command(key, "ZRANGE", key, 0, -1) for key in keys], _awaited, ())

    def note(self, awaited: Sequence[Awaited]) -> list[Word]:
        """Have events kept that nodes are going to wait for: ``kept``, ``full`` or ``broken``."""
        commands = [
            self._store.script(
                "note_awaited",
                [self._store.keys.awaited(each.event)],
                [self._store.now, pack([each.event, each.paths, each.keep_seconds]), NOTED_SECONDS, MAX_AWAITED],
            )
            for each in awaited
        ]
        return self._ask(Request(commands, lambda reply: WORDS[reply[0]], Word.BROKEN))

    def keep(self, events: Sequence[Keeping]) -> list[Kept]:
        """Keep events for those who wait later, and find those who wait now."""
        return self._ask(Request([self._keep(each) for each in events], _kept, Kept(Word.BROKEN)))

    def register(self, registrations: Sequence[Registration]) -> list[Registered]:
        """Have nodes found by the events that come from now on, and find those that have come."""
        return self._ask(
            Request([self._register(each) for each in registrations], _registered, Registered(Word.BROKEN))
        )

    def forget(self, waiters: Sequence[tuple[str, Waiter]]) -> None:
        """Have nodes found no more; each comes with its key."""
        keys = [(self._partition(key).awaiting(key), waiter.member) for key, waiter in waiters]
        self._ask(Request([Command(key, "ZREM", key, member) for key, member in keys], int, 0))

    def _keep(self, each: Keeping) -> Command:
        keys = self._partition(each.key)
        return self._store.script(
            "keep_event",
            [keys.kept_events, keys.kept_until, keys.kept_by_key, keys.awaiting(each.key)],
            [self._store.now, each.key, each.name, each.event, each.seconds, MAX_KEPT, MAX_KEPT_BYTES],
        )

    def _register(self, each: Registration) -> Command:
        keys = self._partition(each.key)
        return self._store.script(
            "await_event",
            [keys.kept_events, keys.kept_by_key, keys.awaiting(each.key)],
            [self._store.now, each.key, each.waiter.member, each.seconds, MAX_WAITING, each.keep_seconds],
        )

    def _partition(self, key: str) -> Partition:
        return self._store.keys.partition_of(key)

    def _ask(self, request: Request[A]) -> list[A]:
        """Damage under one key is the answer for that alone."""
        return self._store.ask(request) if request.commands else []


def note_awaited(store: Store, admissions: Sequence[Admission]) -> None:
    """Have events kept that nodes of runs will wait for; to be called before these are there, so that none is lost."""
    wanted: Mapping[Awaited, None] = dict.fromkeys(awaited for each in admissions for awaited in each.awaited)
    if wanted:
        EventWaits(store).note([*wanted])


def _kept(reply: Reply) -> Kept:
    return Kept(WORDS[reply[0]], reply[1], [Waiter.parse(member.decode()) for member in reply[2:]])


def _registered(reply: Reply) -> Registered:
    return Registered(WORDS[reply[0]], reply[1:])


def _awaited(reply: Reply) -> list[Awaited]:
    found = []
    for member in reply:
        try:
            event, paths, keep_seconds = unpack(member)
            found.append(Awaited(event, tuple(paths), float(keep_seconds)))
        except (WireError, TypeError, ValueError):
            continue  # What another version has written there is that one's to look up.
    return found
