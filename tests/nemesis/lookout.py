"""I3: looks at the store all the time whether each unfinished node of each open run has something that brings it on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taskmesh.dispatch.plan import BEFORE_FIRST, BEFORE_UNDOS, Plan
from taskmesh.errors import TaskmeshError
from taskmesh.model.next_event import NodeFacts, next_event
from taskmesh.model.states import NodeState
from tests.nemesis.ledger import Ledger
from tests.nemesis.snapshot import Snapshot

LOOK_SECONDS = 0.5
KEEPER_SECONDS = 1.0
STUCK_SECONDS = 2 * KEEPER_SECONDS
"""How long a node may have nothing that brings it on."""

RUNS_PER_LOOK = 50
"""The oldest open runs: what is stuck becomes one of them."""

TOLD_ALL = -1
STARTS = (BEFORE_FIRST, BEFORE_UNDOS)


class Forsaken(NamedTuple):
    """A node that nothing would bring on, in the state in which it was found."""

    run_id: str
    name: str
    state: NodeState
    token: int


class Lookout:
    """Looks twice a second, in a thread of its own. ``looks`` counts the runs that it has looked at."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._since: dict[Forsaken, float] = {}
        self._longest: dict[Forsaken, float] = {}
        self.looks = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
        self._thread.start()

    @property
    def longest_seconds(self) -> float:
        """How long a node was seen with nothing that brings it on."""
        return max(self._longest.values(), default=0.0)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def violations(self) -> list[str]:
        return [
            f"I3 stuck: {each.run_id}/{each.name} was {each.state} for {seconds:.1f} s with nothing to bring it on"
            for each, seconds in self._longest.items()
            if seconds > STUCK_SECONDS
        ]

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self._note([each for snapshot in self._look() for each in forsaken(snapshot)])
            except TaskmeshError:
                # The store is away, as the experiment may want it: what was seen before may have been mended since.
                self._since.clear()

    def _look(self) -> list[Snapshot]:
        snapshots = self._ledger.snapshots(self._ledger.open_runs()[:RUNS_PER_LOOK])
        self.looks += len(snapshots)
        return [each for each in snapshots if each.is_open]

    def _note(self, found: Sequence[Forsaken]) -> None:
        now = time.monotonic()
        self._since = {each: self._since.get(each, now) for each in found}
        for each, since in self._since.items():
            self._longest[each] = max(self._longest.get(each, 0.0), now - since)


def forsaken(run: Snapshot) -> Iterator[Forsaken]:
    """The nodes of an open run that nothing would bring on."""
    for place in _places(run):
        record = run.records.get(place)
        state = record.state if record else NodeState.WAITING
        if not (_is_or_will_be_told(run, place) if state.ended else next_event(_facts(run, place, state), run.now)):
            yield Forsaken(run.run_id, _name(run.plan, place), state, record.token if record else 0)


def _places(run: Snapshot) -> Iterator[int]:
    count = len(run.plan.flow.nodes)
    yield from range(2 * count if run.status == "compensating" else count)
    yield from (start for start in STARTS if start in run.records)


def _is_or_will_be_told(run: Snapshot, place: int) -> bool:
    """Whether all that hear from what has ended have heard of it, or somebody will find it who tells them."""
    return run.records[place].spread == TOLD_ALL or place in run.due


def _facts(run: Snapshot, place: int, state: NodeState) -> NodeFacts:
    record = run.records.get(place)
    is_halted = bool(run.halt) and run.status == "running"
    return NodeFacts(
        state=state,
        ready_at=record.ready_at if record else 0.0,
        is_due=place in run.due,
        timer_at=run.timers.get(place),
        lease_until=run.leases.get(record.holder) if record else None,
        needs=tuple(_name(run.plan, each) for each in run.plan.tellers(place) if _will_tell(run, each)),
        is_held=run.is_paused and not is_halted,
        is_halted=is_halted,
    )


def _will_tell(run: Snapshot, place: int) -> bool:
    """Whether something is still to be heard from a place. Those before the first nodes are there only where needed."""
    record = run.records.get(place)
    if record is None or not record.state.ended:
        return place not in STARTS
    return record.spread != TOLD_ALL


def _name(plan: Plan, place: int) -> str:
    return "(start)" if place < 0 else plan.name_of(place)
