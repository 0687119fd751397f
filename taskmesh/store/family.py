"""What runs keep of those that they come from, and of those that they begin: whom the end of a child is told, and how.

A parent and its children may be in different partitions, so no script sees both. A node waits for a child as one that
is retrying, with a *ticket* in its cause; whoever ends the child tells the parent, again and again until that is done,
and the ticket tells what the node waits for from what is long over.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from taskmesh.model.states import RunState
from taskmesh.store.calls import NodeKey
from taskmesh.wire import pack, unpack

WAITS_FOR_RUN = "run:"
"""How the cause of a node begins that waits for a child run; the ticket follows."""

CHILD_FAILED, CHILD_CANCELLED = "ChildRunFailed", "ChildRunCancelled"
"""What the error of a node says whose child has not succeeded."""

_ID_BYTES = 12


def child_id(key: NodeKey, opened_at: float, retries: int, turn: int = 0) -> str:
    """The id of the run that a node begins: of whoever takes the node up, until it fails or is reset.

    ``opened_at`` is when the node was ready first since it was reset, ``retries`` how many of its attempts have failed;
    neither changes when a worker dies. ``turn`` counts runs that follow each other within one attempt.
    """
    text = f"{key.member}/{float(opened_at)!r}/{retries}" + (f"/{turn}" if turn else "")
    return hashlib.blake2b(text.encode(), digest_size=_ID_BYTES).hexdigest()


def undo_ticket(run_id: str, walk: int) -> str:
    """The ticket of an undo that waits until a child has been undone; ``walk`` counts how often that was begun."""
    return f"{run_id}#{walk}"


def run_of_ticket(ticket: str) -> str:
    """The child run that a ticket is about."""
    return ticket.partition("#")[0]


def ticket_of(cause: str) -> str:
    """The ticket in the cause of a node; empty where it waits for no child."""
    return cause.removeprefix(WAITS_FOR_RUN) if cause.startswith(WAITS_FOR_RUN) else ""


class Parent(NamedTuple):
    """Whom the end of a child is told: the place of a node of the parent, its name, and the ticket it waits by.

    ``depth`` counts the runs from the outermost one, which is 1, to the child; ``pool`` is the first of its flow.
    """

    run_id: str
    place: int
    node: str
    ticket: str
    depth: int
    pool: str

    @property
    def key(self) -> NodeKey:
        return NodeKey(self.run_id, self.place)

    def packed(self) -> bytes:
        return pack(list(self))

    @classmethod
    def read(cls, packed: bytes) -> Parent:
        return cls(*unpack(packed))


class Origin(NamedTuple):
    """The run from which one was forked: from which of its nodes on, with which parameters changed, by whom and why."""

    run_id: str
    nodes: tuple[str, ...]
    changed: tuple[str, ...]
    by: str
    why: str

    @classmethod
    def read(cls, packed: bytes) -> Origin:
        run_id, nodes, changed, by, why = unpack(packed)
        return cls(run_id, tuple(nodes), tuple(changed), by, why)


class RunKey(NamedTuple):
    """Names one run, with the hash of its flow; ``pool_of_child`` is the flow's first pool where the run is a child."""

    run_id: str
    flow_hash: str
    pool_of_child: str = ""


class News(NamedTuple):
    """What a node is to hear of a child run: the ``ticket`` by which it waits, and how the run ended, packed with that.

    ``pool`` is that of the node.
    """

    key: NodeKey
    pool: str
    ticket: str
    outcome: bytes


def run_key(run_id: str, flow_hash: bytes, parent: bytes | None) -> RunKey:
    """How a run is named to what may end it, from the fields ``flow`` and ``parent`` of it."""
    return RunKey(run_id, flow_hash.decode(), Parent.read(parent).pool if parent else "")


class Outcome(NamedTuple):
    """How a child run has ended, as its parent hears it. ``output`` is its result, packed, where it has succeeded.

    ``message`` says why it has not; ``is_cancelled``: it was no failure.
    """

    ticket: str
    status: RunState
    output: bytes = b""
    message: str = ""
    is_cancelled: bool = False

    def packed(self) -> bytes:
        """The ticket in front, so that a script can read it, and a space."""
        return self.ticket.encode() + b" " + pack(list(self[1:]))

    @classmethod
    def read(cls, packed: bytes) -> Outcome:
        ticket, _, rest = packed.partition(b" ")
        status, *fields = unpack(rest)
        return cls(ticket.decode(), RunState(status), *fields)
