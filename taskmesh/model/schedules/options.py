"""Schedules as apps, commands and files write them: options, all in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from taskmesh.errors import ScheduleError
from taskmesh.model.problems import Hints
from taskmesh.model.schedules.schedule import CatchUp, Overlap, Schedule, When
from taskmesh.timetable import read_moment, zone_of

E = TypeVar("E", bound=StrEnum)


class ScheduleOptions(TypedDict, total=False):
    """How a schedule is to be; one of ``cron``, ``every_seconds`` and ``at`` is needed."""

    cron: str
    every_seconds: float
    at: datetime | str
    zone: str
    params: Mapping[str, Any]
    overlap: str
    catch_up: str
    catch_up_window_seconds: float
    jitter_seconds: float
    tags: Mapping[str, str]
    deadline_seconds: float | None


def schedule_of(schedule_id: str, options: ScheduleOptions) -> Schedule:
    """The schedule that options describe; ``Schedule.checked`` says what else is wrong with it.

    :raises ScheduleError: for an unknown option or policy.
    :raises UsageError: ``at`` is no moment, or there is no such zone.
    """
    known = [*ScheduleOptions.__annotations__]
    unknown = [f"{each} is no option{Hints(known).did_you_mean(each)}" for each in options if each not in known]
    if unknown:
        raise ScheduleError(schedule_id, unknown)
    plain = Schedule(schedule_id, When())
    return Schedule(
        id=schedule_id,
        when=_when(options),
        params=dict(options.get("params") or {}),
        overlap=_policy(schedule_id, "overlap", Overlap, options.get("overlap", plain.overlap)),
        catch_up=_policy(schedule_id, "catch_up", CatchUp, options.get("catch_up", plain.catch_up)),
        catch_up_window_seconds=options.get("catch_up_window_seconds", plain.catch_up_window_seconds),
        jitter_seconds=options.get("jitter_seconds", plain.jitter_seconds),
        tags=dict(options.get("tags") or {}),
        deadline_seconds=options.get("deadline_seconds"),
    )


def _when(options: ScheduleOptions) -> When:
    at, zone = options.get("at"), options.get("zone", "UTC")
    if at is None:
        return When(options.get("cron", ""), options.get("every_seconds"), None, zone)
    moment = read_moment(at if isinstance(at, str) else at.isoformat(), zone_of(zone))
    return When(options.get("cron", ""), options.get("every_seconds"), moment / 1000, zone)


def _policy(schedule_id: str, name: str, kind: type[E], word: str) -> E:
    known = [str(each) for each in kind]
    if word not in known:
        hint = Hints(known).did_you_mean(word)
        raise ScheduleError(schedule_id, [f"{name} must be one of {', '.join(known)}, not {word!r}{hint}"])
    return kind(word)
