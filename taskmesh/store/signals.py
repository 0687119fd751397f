"""Signals that nodes of runs wait for, as ``signal_node.lua`` keeps them.

As for every call of the store: one that raised ``StoreUnavailableError`` may be made again with the same arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.link import Command, Reply
from taskmesh.store.store import WORDS, Request, Store
from taskmesh.wire import unpack

FIELDS = ("signal", "payload")
"""How the fields of a run begin that hold what a node waits for: who sent it, and what it says."""


def signal_fields(node: int) -> tuple[str, ...]:
    """The fields of a run that hold the signal of a node."""
    return tuple(f"{field}:{node}" for field in FIELDS)


def heard_field(node: int) -> str:
    """The field of a run that holds the ids of the signals to which a node has ended before it was reset."""
    return f"heard:{node}"


class Signal(NamedTuple):
    """Something that a node waits for, known by its ``id``; ``pool`` is the node's, ``payload`` is packed.

    ``why`` is what the run remembers of it when its node waits anew. One that counts ``once`` does not count again for
    a node that had ended with it before its run was reopened.
    """

    key: NodeKey
    pool: str
    id: str
    by: str
    payload: bytes
    why: str = ""
    once: bool = False


class Signalled(NamedTuple):
    """What became of a signal. Where there is a token, the node is ready: publish with this attempt and token.

    ``nothing``: it does not count again. ``detail``: by whom another signal came first, or the status of a run in which
    nobody waits for it any more.
    """

    word: Word
    attempt: int = 0
    token: int = 0
    detail: str = ""


class KeptSignal(NamedTuple):
    """A signal that has come; ``at`` in epoch seconds of the store's clock."""

    id: str
    by: str
    at: float

    @classmethod
    def read(cls, packed: bytes) -> KeptSignal:
        return cls(*unpack(packed))


class Signals:
    """Sends signals to nodes of a store's runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def signal_nodes(self, signals: Sequence[Signal]) -> list[Signalled]:
        """Keep signals for their nodes; the first one of each counts."""
        commands = [self._signal(each) for each in signals]
        return self._store.ask(Request(commands, _signalled, Signalled(Word.BROKEN)))

    def _signal(self, each: Signal) -> Command:
        run_id, node = each.key
        keys = self._store.keys_of_retrying(each.key, each.pool)
        told: list[str | bytes | int] = [each.id, each.by, each.payload, each.why, int(each.once)]
        return self._store.script("signal_node", keys, [self._store.now, run_id, node, *told])


def _signalled(reply: Reply) -> Signalled:
    word = WORDS[reply[0]]
    if word in (Word.SIGNALLED, Word.AGAIN):
        return Signalled(word, reply[1], reply[2])
    return Signalled(word, detail=reply[1].decode() if len(reply) > 1 else "")
