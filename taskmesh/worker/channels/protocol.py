"""What an I/O process and its executors say to each other.

    I/O process ──►  settings {...}, first, and when they change · work [Work, ...] · recall · cancel id · stop
    executor    ──►  ready {task: is async} · unfit sentence · started id · beats [(id, checkpoint), ...] ·
                     outcome Outcome · recalled [id, ...]

``recall`` asks for every work that has not started; the answer names those that are given back. Works and
outcomes are named tuples because a tuple is packed as it is, without a copy in another form.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    """The first item of every message."""

    SETTINGS = "settings"
    WORK = "work"
    RECALL = "recall"
    CANCEL = "cancel"
    STOP = "stop"
    READY = "ready"
    UNFIT = "unfit"
    STARTED = "started"
    BEATS = "beats"
    OUTCOME = "outcome"
    RECALLED = "recalled"


class Work(NamedTuple):
    """One attempt to run. ``arguments`` is a packed mapping, ``context`` is (run id, node, attempt).

    ``timed`` asks to be told when it starts. ``checkpoint`` is what an earlier attempt said last, packed, or empty.
    ``deadline`` is the run's, in epoch seconds. ``is_undo``: the task takes what it has parameters for, and no more.
    ``run_context`` is what is said of the request that the run serves, packed, or empty.
    ``key`` is what services shall know it by; empty where that is its run and its node.
    """

    id: int
    task: str
    arguments: bytes
    context: tuple[str, str, int]
    timed: bool = False
    checkpoint: bytes = b""
    deadline: float | None = None
    is_undo: bool = False
    run_context: bytes = b""
    key: str = ""


class Failure(NamedTuple):
    """What a task raised: the type's name, its message and the end of its traceback (empty when none is of use).

    ``lineage`` has the qualified names of the type and of its bases. ``asks`` says that the task asked to be tried
    again, after ``after_seconds`` where it said when.
    """

    type: str
    message: str
    traceback: str
    lineage: Sequence[str] = ()
    asks: bool = False
    after_seconds: float | None = None


class Outcome(NamedTuple):
    """What became of a work: ``output`` is the packed result, empty when ``failure`` is set.

    ``started_at`` is in epoch seconds.
    """

    id: int
    output: bytes
    failure: Failure | None
    started_at: float
    duration_seconds: float

    @property
    def succeeded(self) -> bool:
        return self.failure is None


def read_outcome(fields: list[Any]) -> Outcome:
    id_, output, failure, started_at, duration_seconds = fields
    return Outcome(id_, output, failure and _read_failure(*failure), started_at, duration_seconds)


def _read_failure(kind: str, message: str, trace: str, lineage: list[str], *wish: Any) -> Failure:
    return Failure(kind, message, trace, tuple(lineage), *wish)
