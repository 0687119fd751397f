"""What the store is asked about schedules, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from taskmesh.model.schedules.schedule import schedule_id_of
from taskmesh.model.schedules.ticks import Missed
from taskmesh.store.calls import Word


class Recorded(NamedTuple):
    """A tick that is to begin a run: that is decided, and stays so until it is settled. ``kind`` is
    tick, trigger or backfill."""

    run_id: str
    tick: int
    revision: str
    kind: str

    @classmethod
    def parse(cls, member: str) -> Recorded:
        """Read a member of a partition's ``due``."""
        run_id, tick, revision, kind = member.split("|")
        return cls(run_id, int(tick), revision, kind)

    @property
    def member(self) -> str:
        return f"{self.run_id}|{self.tick}|{self.revision}|{self.kind}"

    @property
    def schedule_id(self) -> str:
        return schedule_id_of(self.run_id)


class ActiveRun(NamedTuple):
    """A run of a schedule that may not have ended; ``wish`` says whether it is to be cancelled or terminated."""

    run_id: str
    kind: str
    wish: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a schedule stands. ``next_tick`` is the first that nothing was decided about, None where none comes."""

    schedule_id: str
    revision: str
    next_tick: int | None
    active: Sequence[ActiveRun] = ()


class Firing(NamedTuple):
    """Ticks of one schedule to decide about; see ``fire_schedule.lua``. Times in milliseconds."""

    standing: Standing
    following: int | None
    begins_at: int | None
    begin: Sequence[tuple[int, str]]
    missed: Sequence[Missed]
    ended: Sequence[str]


class Fired(NamedTuple):
    """What was decided: the ticks that begin runs; ``is_busy``: the schedule has something to wait for."""

    word: Word
    recorded: Sequence[Recorded] = ()
    is_busy: bool = False


class SettledTick(NamedTuple):
    """A tick that is done with: its run was admitted, or refused for ``why``."""

    recorded: Recorded
    why: str = ""


class Put(NamedTuple):
    """A definition to store, in place of what was seen (no revision where there was none)."""

    schedule_id: str
    seen_revision: str
    seen_next: int | None
    digest: str
    body: bytes
    overlap: str
    next_tick: int | None
    begins_at: int | None


class StartedRun(NamedTuple):
    """A tick that became a run, or was ``refused`` for ``why``. ``tick`` in milliseconds, ``at`` in epoch seconds."""

    tick: int
    run_id: str
    kind: str
    state: str
    why: str
    at: float


class PassedTicks(NamedTuple):
    """Ticks from ``first`` to ``last`` that began no run; ``kind`` is missed or skipped, ``number`` 0 if uncounted."""

    kind: str
    first: int
    last: int
    number: int
    why: str
    at: float


class Pausing(NamedTuple):
    """Who paused a schedule, why, and when in epoch seconds of the store's clock."""

    by: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """All that is stored of a schedule. ``waiting`` ticks wait for the end of a run, ``backfill`` for their turn."""

    standing: Standing
    definition: bytes
    paused: Pausing | None
    waiting: Sequence[int]
    backfill: int
    counts: dict[str, int]
    created_at: float
    updated_at: float
    started: Sequence[StartedRun]
    passed: Sequence[PassedTicks]
