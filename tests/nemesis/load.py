"""Submits runs from a thread of its own while the nemesis strikes."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskmesh import Mesh
from taskmesh.errors import TaskmeshError, UnavailableError
from tests.nemesis.history import History, Kind

RETRY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Workload:
    """``runs`` runs of ``flows`` in turn, ``batch`` at once every ``gap_seconds``."""

    flows: Sequence[Any]
    runs: int
    params: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 5
    gap_seconds: float = 0.2


class Load:
    """Submits a workload; what is not answered is submitted again under the same id until it is."""

    def __init__(self, mesh: Mesh, workload: Workload, history: History, dice: random.Random) -> None:
        self._mesh = mesh
        self._workload = workload
        self._history = history
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        batches = [workload.batch] * (workload.runs // workload.batch)
        self._plan = [
            (workload.flows[number % len(workload.flows)], [f"r{dice.getrandbits(48):x}" for _ in range(size)])
            for number, size in enumerate(batches)
        ]
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopping.set()

    def finish(self, timeout_seconds: float) -> None:
        """Wait until every run is accepted.

        :raises AssertionError: the time was over first.
        """
        self._thread.join(timeout_seconds)
        self._stopping.set()
        if self._failure is not None:
            raise AssertionError(f"a submit failed: {self._failure}") from self._failure
        assert not self._thread.is_alive(), f"runs could not be submitted within {timeout_seconds:g} s"

    def _run(self) -> None:
        try:
            self._submit_all()
        except Exception as error:
            self._failure = error

    def _submit_all(self) -> None:
        for flow, run_ids in self._plan:
            if self._stopping.is_set():
                return
            while not self._submit(flow, run_ids) and not self._stopping.wait(RETRY_SECONDS):
                pass
            self._stopping.wait(self._workload.gap_seconds)

    def _submit(self, flow: Any, run_ids: list[str]) -> bool:
        params = [dict(self._workload.params) for _ in run_ids]
        self._history.note(Kind.INVOKE, run_ids, flow.name)
        try:
            self._mesh.submit_many(flow, params, ids=run_ids)
        except UnavailableError:
            self._history.note(Kind.INFO, run_ids, flow.name)
            return False
        except TaskmeshError:
            self._history.note(Kind.FAIL, run_ids, flow.name)
            raise
        self._history.note(Kind.OK, run_ids, flow.name)
        return True


def await_with(condition: Any, what: str, timeout_seconds: float) -> None:
    """Wait until ``condition`` holds.

    :raises AssertionError: it did not within the time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {timeout_seconds:g} s"
        time.sleep(0.02)
