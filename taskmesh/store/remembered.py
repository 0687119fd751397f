"""What a run remembers that its records do not tell any more (``remember`` in the prelude of the scripts)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from taskmesh.wire import unpack


class LostAttempt(NamedTuple):
    """An attempt that its node's record tells nothing of any more.

    ``state`` is what the node became then, ``was`` what it was before: an attempt that is reset may have ended.
    """

    at: float
    node: int
    state: str
    cause: str
    attempt: int
    holder: str
    ready_at: float
    started_at: float
    why: str
    was: str
    finished_at: float


class Steered(NamedTuple):
    """Something that was done to a run as a whole: ``kind`` is pause, resume, halt or reopen, ``state`` what it became.

    A run that was reopened had ``ended`` so.
    """

    kind: str
    at: float
    state: str
    by: str
    why: str
    ended: str = ""
    ended_at: float = 0.0


class HeardSignal(NamedTuple):
    """A signal that came for a node, from whom, and what of it stays when it is forgotten."""

    at: float
    node: int
    by: str
    why: str


Remembered: TypeAlias = LostAttempt | Steered | HeardSignal


def read_remembered(packed: bytes) -> Remembered:
    """An entry as the scripts write it."""
    kind, *rest = unpack(packed)
    if kind == "signal":
        return HeardSignal(*rest)
    return LostAttempt(*rest) if kind == "node" else Steered(kind, *rest)
