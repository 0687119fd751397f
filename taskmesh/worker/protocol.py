"""What an I/O process and its executors say to each other.

    I/O process ──►  work [Work, ...] · recall · stop
    executor    ──►  ready {task: is async} · unfit sentence · outcome Outcome · recalled [id, ...]

``recall`` asks for every work that has not started; the answer names those that are given back. Works and
outcomes are named tuples because a tuple is packed as it is, without a copy in another form.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    """The first item of every message."""

    WORK = "work"
    RECALL = "recall"
    STOP = "stop"
    READY = "ready"
    UNFIT = "unfit"
    OUTCOME = "outcome"
    RECALLED = "recalled"


class Work(NamedTuple):
    """One attempt to run. ``arguments`` is a packed mapping, ``context`` is (run id, node, attempt)."""

    id: int
    task: str
    arguments: bytes
    context: tuple[str, str, int]


class Failure(NamedTuple):
    """What a task raised: the type's name, its message and the end of its traceback (empty when none is of use)."""

    type: str
    message: str
    traceback: str


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
    return Outcome(id_, output, failure and Failure(*failure), started_at, duration_seconds)
