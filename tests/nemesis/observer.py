"""Looks at runs all the time: what has ended may never change again, whatever strikes."""

from __future__ import annotations

import random
import threading

from taskmesh.dispatch.plan import BEFORE_HOOKS, BEFORE_UNDOS
from taskmesh.errors import TaskmeshError
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.records import NodeRecord, RunRecord
from tests.nemesis.history import History
from tests.nemesis.ledger import Ledger

LOOK_SECONDS = 0.1
RUNS_PER_LOOK = 10


class Observer:
    """Remembers every end that it has seen."""

    def __init__(self, ledger: Ledger, history: History, dice: random.Random) -> None:
        self._ledger = ledger
        self._history = history
        self._dice = dice
        self._ends: dict[str, dict[int, tuple[object, ...]]] = {}
        self._statuses: dict[str, str] = {}
        self._changed: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def finish(self) -> list[str]:
        """Look at everything once more; the ends that have changed since they were seen."""
        self._stopping.set()
        self._thread.join()
        for run_id in self._ends:
            self._look(run_id)
        return self._changed

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            runs = self._history.accepted
            for run_id in self._dice.sample(runs, min(len(runs), RUNS_PER_LOOK)):
                self._try_to_look(run_id)

    def _try_to_look(self, run_id: str) -> None:
        try:
            self._look(run_id)
        except TaskmeshError:
            # The store is away, as the experiment may want it.
            return

    def _look(self, run_id: str) -> None:
        record = self._ledger.reader.run(run_id)
        if record is None:
            return
        self._compare_status(record)
        known = self._ends.setdefault(run_id, {})
        for at, node in record.nodes.items():
            if _is_final(record, at):
                end = _end(node)
                if known.setdefault(at, end) != end:
                    self._changed.append(f"I1 changed: node {at} of run {run_id} ended as {known[at]}, later as {end}")

    def _compare_status(self, record: RunRecord) -> None:
        run_id, status = record.summary.run_id, record.summary.status
        before = self._statuses.get(run_id)
        if before is not None and before != status:
            self._changed.append(f"I1 changed: run {run_id} was {before} and is {status}")
        # Undoing may be begun again where it has failed.
        if status.ended and status is not RunState.COMPENSATION_FAILED:
            self._statuses[run_id] = status


def _is_final(record: RunRecord, at: int) -> bool:
    """Whether a node, or an undo, has come to an end that must stay. An undo that has failed may be tried again."""
    state = record.nodes[at].state
    if at >= record.summary.nodes:
        return state is NodeState.SUCCEEDED
    return state.ended and at not in (BEFORE_UNDOS, BEFORE_HOOKS)


def _end(node: NodeRecord) -> tuple[object, ...]:
    # A run is read in pages, so an output may be missing at first; outputs are compared with what tasks returned.
    return node.state, node.attempt, node.token, node.finished_at
