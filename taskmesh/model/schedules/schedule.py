"""Schedules: when runs of a flow begin by themselves, and what becomes of a moment that cannot be kept.

A *tick* is a moment at which a schedule is due, in whole milliseconds since 1970. Each tick is one run at most: the id
of the run is made of the schedule's id and the tick.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from zlib import crc32

from taskmesh.errors import FlowError, ScheduleError, UsageError
from taskmesh.model.durations import MAX_SECONDS, duration_problem
from taskmesh.model.references import Template
from taskmesh.model.schedules.references import compile_tick_value
from taskmesh.model.values import Value, Values
from taskmesh.timetable import LAST_MOMENT, Cron, Every, Once, Timetable, iso_text, zone_of

SCHEDULE_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,89}"
"""Leaves room for the tick in the id of a run."""

MIN_INTERVAL_SECONDS = 1.0

_ID = re.compile(SCHEDULE_ID_PATTERN)
_JITTER_STEPS = 1 << 32


class Overlap(StrEnum):
    """What becomes of a tick whose schedule has a run that has not ended."""

    SKIP = "skip"  # it is skipped
    BUFFER_ONE = "buffer_one"  # it waits for the end of that run; others are skipped meanwhile
    BUFFER_ALL = "buffer_all"  # it waits, and all after it
    CANCEL_OTHER = "cancel_other"  # that run is cancelled; the newest tick begins when it has ended
    TERMINATE_OTHER = "terminate_other"  # that run is terminated, and the tick begins at once
    ALLOW_ALL = "allow_all"  # it begins at once


class CatchUp(StrEnum):
    """Which ticks run that came too late, since no keeper was there, as long as they are within the window."""

    ALL = "all"
    ONE = "one"  # the newest, unless something is on time
    NONE = "none"


@dataclass(frozen=True, slots=True)
class When:
    """When a schedule is due: one of a cron line, an interval in seconds, and one moment in epoch seconds."""

    cron: str = ""
    every_seconds: float | None = None
    at: float | None = None
    zone: str = "UTC"

    def timetable(self) -> Timetable:
        """:raises UsageError: the cron line or the zone is none."""
        if self.cron:
            return Cron(self.cron, self.zone)
        zone_of(self.zone)
        if self.every_seconds is not None:
            return Every(round(self.every_seconds * 1000))
        return Once(round((self.at or 0.0) * 1000))


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule without its flow. ``params`` may refer to the tick, as ``${schedule.time}``."""

    id: str
    when: When
    params: Values = field(default_factory=dict)
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.ONE
    catch_up_window_seconds: float = 86_400.0
    jitter_seconds: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)
    deadline_seconds: float | None = None

    def checked(self) -> Schedule:
        """The schedule itself.

        :raises ScheduleError: with everything that is wrong.
        """
        problems = list(self.findings())
        if problems:
            raise ScheduleError(self.id, [f"{name} {sentence}" if name else sentence for name, sentence in problems])
        return self

    def findings(self) -> Iterator[tuple[str, str]]:
        """What is wrong: the name of a field, and a sentence that goes on after it; no name for the whole."""
        if not _ID.fullmatch(self.id):
            yield "id", _ID_RULE
        yield from _when_findings(self.when)
        yield from _time_findings(self)
        try:
            compile_tick_value(self.params)
        except FlowError as error:
            yield from (("params:", problem) for problem in error.problems)

    def params_at(self, tick: int, template: Template | None = None) -> Mapping[str, Value]:
        """The parameters of the run of a tick; ``template``, where it is known, are those that were compiled.

        :raises FlowError: a reference is none.
        """
        template = template or compile_tick_value(self.params)
        known = {"id": self.id, "time": iso_text(tick, zone_of(self.when.zone))}
        resolved = template.resolve(known, {})
        assert isinstance(resolved, Mapping)
        return resolved

    def delay_of(self, tick: int, following: int | None) -> int:
        """How many milliseconds after a tick its run begins: the same for everybody who asks, and never past the next.

        ``following`` is the tick after it, None where there is none.
        """
        most = round(self.jitter_seconds * 1000)
        if following is not None:
            most = min(most, following - tick)
        return crc32(f"{self.id}@{tick}".encode()) * most // _JITTER_STEPS


_ID_RULE = (
    "must start with a letter or digit, have at most 90 characters, and besides letters and digits only . _ : @ -"
)


def _when_findings(when: When) -> Iterator[tuple[str, str]]:
    given = [bool(when.cron), when.every_seconds is not None, when.at is not None]
    if sum(given) != 1:
        yield "", "give one of cron, every and at"
        return
    if when.at is not None and not 0 <= when.at * 1000 < LAST_MOMENT:
        yield "at", "must be a moment from 1970 to the year 9000"
        return
    every = when.every_seconds
    if every is not None and (problem := duration_problem(every)):
        yield "every", problem
    elif every is not None and every < MIN_INTERVAL_SECONDS:
        yield "every", f"must be at least {MIN_INTERVAL_SECONDS:g} seconds, not {every:g}"
    else:
        try:
            when.timetable()
        except UsageError as error:
            yield "", str(error)


def _time_findings(schedule: Schedule) -> Iterator[tuple[str, str]]:
    if problem := duration_problem(schedule.catch_up_window_seconds):
        yield "catch_up_window", problem
    if not 0 <= schedule.jitter_seconds <= MAX_SECONDS:
        yield "jitter", f"must be 0 to {MAX_SECONDS:.0f} seconds, not {schedule.jitter_seconds:g}"
    if schedule.deadline_seconds is not None and (problem := duration_problem(schedule.deadline_seconds)):
        yield "deadline", problem


def run_id_of(schedule_id: str, tick: int) -> str:
    """The id of the run of a tick, as ``nightly@20261129T020000Z``."""
    text = iso_text(tick, zone_of("UTC")).removesuffix("+00:00").replace("-", "").replace(":", "")
    return f"{schedule_id}@{text}Z"


def schedule_id_of(run_id: str) -> str:
    """The id of the schedule that a run belongs to."""
    return run_id.rpartition("@")[0]
