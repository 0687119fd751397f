"""Tasks that run although nobody wants their end any more: they are told, and killed where they do not hear.

Once a second the runs of what has run for longer than that are looked at, in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.errors import TaskCancelledError
from taskmesh.model.policies import exception_name
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.aside import aside
from taskmesh.store.records import NodeRecord
from taskmesh.wire import unpack
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt, InFlight
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.time_limits import Limiter
from taskmesh.worker.engine.work_pool import WorkPool

LOOK_SECONDS = 1.0
ATTEMPTS_PER_LOOK = 200
"""Of more that run at once, the others are looked at the next time."""

UNDOING = RunState.COMPENSATING.encode()
"""Undos come after what their run was cancelled for: nobody ends them for that."""

OVERTAKEN = "another attempt, or somebody's decision, has taken its place"


class Halting:
    """Looks after the attempts of one process. One thread, on its loop."""

    def __init__(self, parts: Parts, in_flight: InFlight, limiter: Limiter) -> None:
        self._parts = parts
        self._in_flight = in_flight
        self._limiter = limiter
        self._running: set[int] = set()
        self._told: dict[int, float] = {}
        self._looked_at: set[int] = set()

    async def look(self, pool: WorkPool, grace_seconds: float) -> None:
        """Tell what should end, and kill what was told ``grace_seconds`` ago.

        :raises StoreUnavailableError: it is looked at again.
        """
        claimed = self._in_flight.claimed_ids()
        long, self._running = self._running & claimed, claimed
        self._told = {id_: at for id_, at in self._told.items() if id_ in claimed}
        chosen = self._next(long)
        attempts = [attempt for id_ in chosen if (attempt := self._in_flight.by_id(id_))]
        if not attempts:
            return
        reader, run_ids = self._parts.reader, [each.key.run_id for each in attempts]
        runs = await aside(reader.fields_of_runs, run_ids, ("status", "halt", "halted_by"))
        records = await aside(reader.node_records, [each.key for each in attempts])
        for attempt, (status, halt, who), record in zip(attempts, runs, records, strict=True):
            if self._in_flight.by_id(attempt.id) is None:
                # It has ended meanwhile.
                continue
            if status == RunState.TERMINATED.encode():
                self._kill(attempt, _by(RunState.TERMINATED, who), pool)
            elif status is not None and _is_overtaken(attempt, record):
                self._kill(attempt, OVERTAKEN, pool)
            elif halt == RunState.CANCELLED.encode() and status != UNDOING and not attempt.runs_always:
                self._end(attempt, _by(RunState.CANCELLED, who), pool, grace_seconds)

    def _next(self, long: set[int]) -> Sequence[int]:
        """Those in turns, when they are too many for one look."""
        fresh = sorted(long - self._looked_at)
        if not fresh:
            fresh, self._looked_at = sorted(long), set()
        chosen = fresh[:ATTEMPTS_PER_LOOK]
        if len(chosen) < len(fresh) or self._looked_at:
            self._looked_at.update(chosen)
        return chosen

    def _end(self, attempt: Attempt, halt: str, pool: WorkPool, grace_seconds: float) -> None:
        now = self._parts.clock.monotonic()
        if attempt.id not in self._told:
            attempt.halt = halt
            self._told[attempt.id] = now
            pool.cancel(attempt.id)
        if now - self._told[attempt.id] >= grace_seconds:
            self._kill(attempt, halt, pool)

    def _kill(self, attempt: Attempt, why: str, pool: WorkPool) -> None:
        attempt.halt = why
        self._limiter.kill(attempt, Failure(CANCELLED, f"it was killed: {why}", ""), pool.kill)


CANCELLED = exception_name(TaskCancelledError)


def _by(status: RunState, who: bytes | None) -> str:
    if not who:
        return status
    by, why, _ = unpack(who)
    return f"{status} by {by}" + (f": {why}" if why else "")


def _is_overtaken(attempt: Attempt, record: NodeRecord | None) -> bool:
    return record is None or record.state is not NodeState.RUNNING or record.token != attempt.token
