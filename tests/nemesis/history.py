"""What the clients did and what they were told, in the manner of Jepsen: invoke, then ok, fail or info (unknown)."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """How far a submit came."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"  # refused: nothing was stored
    INFO = "info"  # no answer: it may or may not have happened


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the history: ``kind`` of a submit of a run of ``flow``."""

    kind: Kind
    run_id: str
    flow: str
    at: float


class History:
    """All submits of an experiment. Safe in threads; every line is in the file before the next one is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.operations: list[Operation] = []

    def note(self, kind: Kind, run_ids: Sequence[str], flow: str) -> None:
        now = time.monotonic()
        with self._lock, self._path.open("a") as lines:
            for run_id in run_ids:
                self.operations.append(Operation(kind, run_id, flow, now))
                lines.write(json.dumps([kind, run_id, flow, now]) + "\n")

    def of(self, kind: Kind) -> dict[str, Operation]:
        """The first operation of a kind for each run."""
        with self._lock:
            return {each.run_id: each for each in reversed(self.operations) if each.kind is kind}

    @property
    def accepted(self) -> list[str]:
        """Runs whose submit was answered."""
        return list(self.of(Kind.OK))

    @property
    def unknown(self) -> list[str]:
        """Runs that were asked for and never answered."""
        answered = self.of(Kind.OK)
        return [run_id for run_id in self.of(Kind.INFO) if run_id not in answered]
