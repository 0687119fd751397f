"""The effect log: what user code did, in a file that no fault of an experiment touches."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taskmesh import current_task

EFFECTS = "TASKMESH_TEST_EFFECTS"
BEGIN, END = "begin", "end"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line. ``word`` is what the execution returned, and ``parents`` are the words that it was given."""

    event: str
    run_id: str
    node: str
    attempt: int
    pid: int
    at: float
    word: str = ""
    parents: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.run_id, self.node


def leave_begin() -> None:
    """In a task: say that this execution has begun."""
    _leave(BEGIN, "", ())


def leave_end(parents: Sequence[str]) -> str:
    """In a task: say that this execution is over; gives the word to return."""
    word = secrets.token_hex(4)
    _leave(END, word, parents)
    return word


def read_effects(path: Path) -> list[Effect]:
    """All effects, oldest first."""
    if not path.exists():
        return []
    with path.open() as lines:
        return [_effect(line) for line in lines if line.endswith("\n")]


def _leave(event: str, word: str, parents: Sequence[str]) -> None:
    context = current_task()
    line = [event, context.run_id, context.node, context.attempt, os.getpid(), time.monotonic(), word, list(parents)]
    mark = os.open(os.environ[EFFECTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # One write of a short line is whole, whoever else appends.
        os.write(mark, json.dumps(line, separators=(",", ":")).encode() + b"\n")
    finally:
        os.close(mark)


def _effect(line: str) -> Effect:
    event, run_id, node, attempt, pid, at, word, parents = json.loads(line)
    return Effect(event, run_id, node, attempt, pid, at, word, tuple(parents))
