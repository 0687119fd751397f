"""Which of the ticks that have passed begin a run, and which are missed: decided in bounded steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.model.schedules.schedule import CatchUp, Schedule
from taskmesh.timetable import Timetable

ON_TIME_SECONDS = 30.0
"""A tick that begins so late is still on time: it leaves room for a keeper that dies and the next one."""

TICKS_PER_STEP = 200
"""How many ticks of one schedule are decided about at once."""

TOO_OLD = "older than the window of catch_up"
NOT_CAUGHT_UP = "too late, and catch_up is none"
REPLACED = "too late, and a later tick is caught up"


class Missed(NamedTuple):
    """Ticks from ``first`` to ``last`` that begin no run: ``number`` of them, or more where that is 0."""

    first: int
    last: int
    number: int
    why: str


class Step(NamedTuple):
    """What is decided at one time: the ticks that begin, those that are missed, and the tick that comes next.

    The run of ``following`` begins at ``begins_at``; both are None where nothing comes any more.
    """

    begin: Sequence[int]
    missed: Sequence[Missed]
    following: int | None
    begins_at: int | None


def begin_of(schedule: Schedule, timetable: Timetable, tick: int | None) -> int | None:
    """When the run of a tick begins, after its jitter."""
    if tick is None or not schedule.jitter_seconds:
        return tick
    return tick + schedule.delay_of(tick, timetable.after(tick))


def decide(schedule: Schedule, timetable: Timetable, tick: int, now: int) -> Step:
    """Decide about ``tick``, the first that nothing was decided about, and those after it that are due ``now``."""
    oldest = min(now - round(schedule.catch_up_window_seconds * 1000), now - _ON_TIME)
    following: int | None = tick
    begins_at = begin_of(schedule, timetable, following)
    if begins_at is not None and begins_at < oldest:
        return _leave_behind(schedule, timetable, tick, oldest)
    due: list[tuple[int, int]] = []
    while following is not None and begins_at is not None and begins_at <= now and len(due) < TICKS_PER_STEP:
        due.append((following, begins_at))
        following = timetable.after(following)
        begins_at = begin_of(schedule, timetable, following)
    is_last_step = begins_at is None or begins_at > now
    begin, missed = _judged(schedule.catch_up, due, now, is_last_step)
    return Step(begin, missed, following, begins_at)


_ON_TIME = round(ON_TIME_SECONDS * 1000)


def _judged(
    catch_up: CatchUp, due: Sequence[tuple[int, int]], now: int, is_last_step: bool
) -> tuple[list[int], list[Missed]]:
    late = [tick for tick, begins_at in due if begins_at < now - _ON_TIME]
    on_time = [tick for tick, begins_at in due if begins_at >= now - _ON_TIME]
    if catch_up is CatchUp.ALL:
        return [*late, *on_time], []
    caught_up = late[-1:] if catch_up is CatchUp.ONE and is_last_step and not on_time else []
    left = late[: len(late) - len(caught_up)]
    why = NOT_CAUGHT_UP if catch_up is CatchUp.NONE else REPLACED
    return [*caught_up, *on_time], [Missed(left[0], left[-1], len(left), why)] if left else []


def _leave_behind(schedule: Schedule, timetable: Timetable, tick: int, oldest: int) -> Step:
    """Pass over what is older than anything that could be caught up; not one by one where it is very much."""
    last, number = tick, 1
    following = timetable.after(tick)
    begins_at = begin_of(schedule, timetable, following)
    while following is not None and begins_at is not None and begins_at < oldest and number < TICKS_PER_STEP:
        last, number = following, number + 1
        following = timetable.after(following)
        begins_at = begin_of(schedule, timetable, following)
    # All before this have begun before the oldest, whatever their jitter is.
    long_ago = oldest - round(schedule.jitter_seconds * 1000)
    if following is not None and following < long_ago:
        last, number = long_ago, 0
        following = timetable.after(long_ago - 1)
        begins_at = begin_of(schedule, timetable, following)
    return Step((), (Missed(tick, last, number, TOO_OLD),), following, begins_at)


def ticks_between(timetable: Timetable, first: int, last: int, limit: int) -> list[int]:
    """The ticks from ``first`` to ``last``, both included; one more than ``limit`` where there are more."""
    ticks: list[int] = []
    tick = timetable.after(first - 1)
    while tick is not None and tick <= last and len(ticks) <= limit:
        ticks.append(tick)
        tick = timetable.after(tick)
    return ticks
