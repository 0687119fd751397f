"""Runs that go on through a failover of the store, and what must hold of them afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from taskmesh import NodeState, RunState
from taskmesh.errors import RunNotFoundError, UnavailableError
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench

PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 0.03


@dataclass
class Outcome:
    """What became of the runs that were accepted."""

    ended: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.ended) + len(self.lost)} runs accepted, {len(self.ended)} ended, {len(self.lost)} told lost"


class Submitter:
    """Submits runs, one after the other; what the store did not answer is submitted again under the same id."""

    def __init__(self, bench: MeshBench) -> None:
        self._bench = bench
        self._stop = threading.Event()
        self.accepted: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                self.accepted.append(self._bench.mesh.submit(app.stamped, id=f"run-{number}").id)
            except UnavailableError:
                time.sleep(PAUSE_SECONDS)
            else:
                number += 1
                time.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        self._stop.set()

    def await_more(self, count: int) -> None:
        """Wait until so many more runs have been accepted."""
        wanted, deadline = len(self.accepted) + count, time.monotonic() + PATIENCE_SECONDS
        while len(self.accepted) < wanted:
            assert time.monotonic() < deadline, f"only {len(self.accepted)} of {wanted} runs were accepted"
            time.sleep(PAUSE_SECONDS)


@contextmanager
def submitting(bench: MeshBench) -> Iterator[Submitter]:
    """Submits in a thread while the block runs."""
    submitter = Submitter(bench)
    thread = threading.Thread(target=submitter.run)
    thread.start()
    try:
        yield submitter
    finally:
        submitter.stop()
        thread.join()


def outcome_of(bench: MeshBench, run_ids: list[str]) -> Outcome:
    """Wait for every run. One that ended has one end of each node, and all that came later was built upon it."""
    outcome = Outcome()
    for run_id in run_ids:
        run = bench.mesh.run(run_id)
        try:
            assert run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED
        except RunNotFoundError:
            outcome.lost.append(run_id)
            continue
        result, nodes = run.result(), run.details().nodes
        assert all(node.status is NodeState.SUCCEEDED for node in nodes)
        assert [node.output for node in nodes] == [result[: place + 1] for place in range(len(nodes))]
        outcome.ended.append(run_id)
    return outcome
