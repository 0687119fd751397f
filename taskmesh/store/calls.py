"""What the store is asked, and what it answers: one value for each script.

Named tuples where one is made for every node: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskmesh.model.events.waits import Awaited


class Word(StrEnum):
    """The answers of the scripts."""

    ADMITTED = "admitted"
    SAME = "same"
    CONFLICT = "conflict"
    FLOW_MISSING = "flow_missing"
    CLAIMED = "claimed"
    UNKNOWN = "unknown"
    EARLY = "early"
    HELD = "held"
    FUTURE = "future"
    ENDED = "ended"
    SETTLED = "settled"
    SPREAD = "spread"
    AGAIN = "again"
    BEHIND = "behind"
    STALE = "stale"
    RELEASED = "released"
    REDRIVE = "redrive"
    HALTED = "halted"
    PAUSED = "paused"
    RESUMED = "resumed"
    RUNNING = "running"
    PREPARING = "preparing"
    ENDING = "ending"
    TERMINATED = "terminated"
    REOPENED = "reopened"
    RESET = "reset"
    INHERITED = "inherited"
    MARKED = "marked"
    RETRYING = "retrying"
    COMPENSATING = "compensating"
    NOTHING = "nothing"
    WOKEN = "woken"
    TOLD = "told"
    KEPT = "kept"
    SIGNALLED = "signalled"
    TAKEN = "taken"
    BEATEN = "beaten"
    FIRED = "fired"
    MOVED = "moved"
    RELIEVED = "relieved"
    PUT = "put"
    CHANGED = "changed"
    TRIGGERED = "triggered"
    ADDED = "added"
    FULL = "full"
    REMOVED = "removed"
    GATHERED = "gathered"
    CLOSED = "closed"
    BROKEN = "broken"  # no script says it: one stopped at what it found under its keys
    SOURCE_GONE = "source_gone"  # nor this: what a fork is still to inherit is not there any more


RUN_DEADLINE = -3
"""As the node of a timer: the run itself, which ends at its deadline."""


class Who(NamedTuple):
    """Who asked for something to be done to a run, and why; empty = the engine itself."""

    by: str = ""
    why: str = ""


class Controlled(NamedTuple):
    """What became of a wish for a run as a whole; ``detail`` is a status, or what is being prepared."""

    word: Word
    detail: str = ""


class NodeKey(NamedTuple):
    """Names one node of one run."""

    run_id: str
    node: int

    @classmethod
    def parse(cls, member: str) -> NodeKey:
        """Read a member of an outbox, of the timers or of a holder's set."""
        run_id, _, node = member.rpartition("/")
        return cls(run_id, int(node))

    @property
    def member(self) -> str:
        """As a member of an outbox."""
        return f"{self.run_id}/{self.node}"


@dataclass(frozen=True, slots=True)
class Admission:
    """A run to store. ``edges`` lead to its first nodes; ``complete`` says that those are all that may run at once.

    ``undo_base`` is the place of the undo of node 0; None where none of the nodes can be undone. ``items`` are fields
    with what copies work on; ``further`` are more fields of the run, names and values by turns. ``awaited`` is what its
    nodes, and those of flows that it begins, wait for. Of a child that ends with its parent it is looked after
    ``look_seconds`` whether that still waits for it; None in all others.
    """

    run_id: str
    digest: bytes
    header: bytes
    flow_hash: str
    flow_body: bytes
    params: bytes
    shard_key: str
    node_count: int
    pools: tuple[str, ...]
    edges: bytes
    complete: bool
    deadline_seconds: float | None = None
    undo_base: int | None = None
    items: tuple[bytes, ...] = ()
    look_seconds: float | None = None
    further: tuple[str | bytes, ...] = ()
    awaited: tuple[Awaited, ...] = ()


class Claim(NamedTuple):
    """A wish to run a node. ``fields`` names what of the run its arguments need."""

    key: NodeKey
    token: int
    fields: tuple[str, ...]


class ClaimAnswer(NamedTuple):
    """What became of a claim; ``attempt`` and what follows are there when ``word`` is ``claimed``.

    ``spread`` is there when it is ``ended``: how many dependents have been told, -1 for all. ``retries`` counts the
    earlier attempts that ended in a retry, ``crashes`` those that ended with their executor. The node was ready for
    ``waited_seconds`` before the claim, and was ready for the first time ``open_seconds`` before it. ``checkpoint`` is
    what an earlier attempt said last, empty where there is none. ``left_seconds`` is the time until the run's deadline,
    None where it has none. ``past`` counts the attempts before it was reset. ``context`` is the run's, empty where
    nothing is said of it.
    """

    word: Word
    attempt: int = 0
    token: int = 0
    halt: str = ""
    fields: tuple[bytes | None, ...] = ()
    spread: int = 0
    retries: int = 0
    crashes: int = 0
    waited_seconds: float = 0.0
    open_seconds: float = 0.0
    checkpoint: bytes = b""
    left_seconds: float | None = None
    past: int = 0
    context: bytes = b""


class Settlement(NamedTuple):
    """The end of an attempt: succeeded, failed, cancelled, skipped, or retrying: after ``delay_seconds`` then.

    ``halt`` stops the run unless empty; where a failure ``compensates``, what was committed is undone when the run has
    failed. One that is retrying and does not count uses up no attempt. One that ``outlasts_halt`` waits for its delay
    in a halted run, too. ``cause`` says why a node waits or was skipped, or how it succeeded, where that is not by its
    own task. ``special`` are those of the dependents on ``edges`` that have rules; one of them takes a failure where it
    is ``handled``. One that retries may wait for the end of a child run, by its ``ticket``; ``bound`` and ``tolerated``
    are the plan's: with the latter, a failure halts the run only after so many others.
    """

    key: NodeKey
    token: int
    state: str
    output: bytes
    error: bytes
    halt: str
    flow_hash: str
    pool: str
    pools: tuple[str, ...]
    edges: bytes
    last: bool
    delay_seconds: float = 0.0
    counts: bool = True
    cause: str = ""
    can_be_undone: bool = False
    compensates: bool = False
    special: bytes = b""
    handled: bool = False
    outlasts_halt: bool = False
    bound: bytes = b""
    ticket: str = ""
    tolerated: int | None = None


class Spreading(NamedTuple):
    """The next dependents of an ended node to tell; ``told_before`` of them know already.

    ``tells_parent``: it is the place before the parent of a run.
    """

    key: NodeKey
    told_before: int
    flow_hash: str
    pool: str
    pools: tuple[str, ...]
    edges: bytes
    last: bool
    special: bytes = b""
    tells_parent: bool = False


class Marking(NamedTuple):
    """The end of a node by hand. ``state`` is succeeded or skipped; ``cause`` says by whom and why.

    One that ``waits_its_turn`` cannot be ended before that has come; ``bound`` is the plan's.
    """

    key: NodeKey
    state: str
    output: bytes
    cause: str
    flow_hash: str
    pool: str
    pools: tuple[str, ...]
    edges: bytes
    last: bool
    can_be_undone: bool = False
    special: bytes = b""
    waits_its_turn: bool = False
    bound: bytes = b""


class Told(NamedTuple):
    """What followed: nodes that are ready now, and nodes that ended thereby whose own dependents must be told next."""

    word: Word
    run_status: str = ""
    ready: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()


class Release(NamedTuple):
    """A running node to make ready again. ``counts``: the attempt is used up, since its executor is gone."""

    key: NodeKey
    token: int
    pool: str
    counts: bool


class Question(NamedTuple):
    """Whether ``holder`` still has a node that the store says it runs, with this token."""

    holder: str
    key: NodeKey
    token: int
    pool: str


class Beat(NamedTuple):
    """A running attempt goes on. An empty ``checkpoint`` leaves the one before."""

    key: NodeKey
    token: int
    checkpoint: bytes


class Beaten(NamedTuple):
    """``halt`` says why the attempt should end, as the run will not go on; so does a word that is not ``beaten``."""

    word: Word
    halt: str = ""


class Renewed(NamedTuple):
    """What became of a release, a re-drive or a waking: publish with this attempt and token, unless it was too late."""

    word: Word
    attempt: int = 0
    token: int = 0
