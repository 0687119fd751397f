"""The rules of schedules: what is refused, which ticks begin, which are missed, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from taskmesh.errors import FlowError, ScheduleError, UsageError, WireError
from taskmesh.model.schedules.options import schedule_of
from taskmesh.model.schedules.schedule import CatchUp, Overlap, Schedule, When, run_id_of, schedule_id_of
from taskmesh.model.schedules.ticks import (
    NOT_CAUGHT_UP,
    REPLACED,
    TICKS_PER_STEP,
    TOO_OLD,
    Missed,
    Step,
    begin_of,
    decide,
    ticks_between,
)
from taskmesh.wire.schedules import Definition, decode_definition, digest_of, encode_definition

MINUTE = 60_000
EACH_MINUTE = Schedule("each", When(every_seconds=60.0), catch_up_window_seconds=3600.0)


def _decide(schedule: Schedule, tick: int, now: int) -> Step:
    return decide(schedule, schedule.when.timetable(), tick, now)


def test_a_tick_on_time_begins_and_the_next_one_is_known() -> None:
    assert _decide(EACH_MINUTE, MINUTE, MINUTE + 5) == Step([MINUTE], [], 2 * MINUTE, 2 * MINUTE)


def test_a_tick_that_is_not_due_is_left_for_later() -> None:
    assert _decide(EACH_MINUTE, MINUTE, MINUTE - 1) == Step([], [], MINUTE, MINUTE)


@pytest.mark.parametrize("catch_up", CatchUp)
def test_what_is_late_by_a_keeper_that_died_is_still_on_time(catch_up: CatchUp) -> None:
    schedule = replace(EACH_MINUTE, catch_up=catch_up)
    assert _decide(schedule, MINUTE, MINUTE + 30_000).begin == [MINUTE]


def _late(catch_up: CatchUp, now: int) -> Step:
    return _decide(replace(EACH_MINUTE, catch_up=catch_up), 10 * MINUTE, now)


def test_catch_up_of_all_one_and_none() -> None:
    now = 13 * MINUTE + 40_000
    late = [10 * MINUTE, 11 * MINUTE, 12 * MINUTE, 13 * MINUTE]
    assert _late(CatchUp.ALL, now) == Step(late, [], 14 * MINUTE, 14 * MINUTE)
    assert _late(CatchUp.ONE, now).begin == late[-1:]
    assert _late(CatchUp.ONE, now).missed == [Missed(late[0], late[2], 3, REPLACED)]
    assert _late(CatchUp.NONE, now).begin == []
    assert _late(CatchUp.NONE, now).missed == [Missed(late[0], late[3], 4, NOT_CAUGHT_UP)]


def test_what_is_on_time_stands_for_the_one_that_is_caught_up() -> None:
    found = _late(CatchUp.ONE, 12 * MINUTE)
    assert (found.begin, found.missed) == ([12 * MINUTE], [Missed(10 * MINUTE, 11 * MINUTE, 2, REPLACED)])


def test_what_is_older_than_the_window_is_missed() -> None:
    now = 120 * MINUTE
    schedule = replace(EACH_MINUTE, catch_up=CatchUp.ALL)
    first = _decide(schedule, 10 * MINUTE, now)
    assert first == Step((), (Missed(10 * MINUTE, 59 * MINUTE, 50, TOO_OLD),), 60 * MINUTE, 60 * MINUTE)
    assert first.following is not None
    assert _decide(schedule, first.following, now).begin == [at * MINUTE for at in range(60, 121)]


def test_a_long_outage_of_a_fast_schedule_is_passed_in_bounded_steps() -> None:
    schedule = Schedule("fast", When(every_seconds=1.0), catch_up=CatchUp.ONE, catch_up_window_seconds=600.0)
    year = 365 * 86_400_000
    found, steps, begun, missed = _decide(schedule, 1000, year), 1, 0, 0
    assert found.missed == (Missed(1000, year - 600_000, 0, TOO_OLD),)
    while found.following is not None and found.following <= year:
        found, steps = _decide(schedule, found.following, year), steps + 1
        assert len(found.begin) + sum(each.number for each in found.missed) <= TICKS_PER_STEP
        begun += len(found.begin)
        missed += sum(each.number for each in found.missed)
    assert begun + missed == 601
    assert begun == 31, "those on time"
    assert steps <= 6


def test_only_the_newest_of_many_steps_is_caught_up() -> None:
    schedule = Schedule("fast", When(every_seconds=1.0), catch_up=CatchUp.ONE)
    now = 1000 * (TICKS_PER_STEP + 50)
    found = _decide(replace(schedule, when=When(every_seconds=1.0)), 1000, now)
    assert found.begin == []
    assert found.missed == [Missed(1000, 1000 * TICKS_PER_STEP, TICKS_PER_STEP, REPLACED)]


def test_a_single_moment_has_nothing_after_it() -> None:
    once = Schedule("once", When(at=60.0))
    assert _decide(once, MINUTE, MINUTE) == Step([MINUTE], [], None, None)


def test_a_tick_whose_jitter_is_longer_than_the_window_begins() -> None:
    schedule = Schedule("daily", When(every_seconds=86_400.0), catch_up_window_seconds=60.0, jitter_seconds=80_000.0)
    tick = next(at for at in range(86_400_000, 86_400_000 * 50, 86_400_000) if schedule.delay_of(at, None) > 3_600_000)
    begins_at = tick + schedule.delay_of(tick, tick + 86_400_000)
    assert _decide(schedule, tick, begins_at - 1).begin == []
    assert _decide(schedule, tick, begins_at).begin == [tick]
    assert _decide(schedule, tick, begins_at + 61_000).missed[0].why == TOO_OLD


def test_jitter_is_the_same_for_everybody_and_never_reaches_the_next_tick() -> None:
    schedule = replace(EACH_MINUTE, jitter_seconds=3600.0)
    timetable = schedule.when.timetable()
    delays = []
    for number in range(1, 200):
        tick = number * MINUTE
        begins_at = begin_of(schedule, timetable, tick)
        assert begins_at is not None
        assert tick <= begins_at < tick + MINUTE
        assert begins_at == begin_of(replace(schedule), timetable, tick)
        delays.append(begins_at - tick)
    assert len(set(delays)) > 190
    assert min(delays) < MINUTE / 5
    assert max(delays) > MINUTE * 4 / 5
    assert _decide(schedule, MINUTE, MINUTE + delays[0] - 1).begin == []
    assert _decide(schedule, MINUTE, MINUTE + delays[0]).begin == [MINUTE]
    alone = Schedule("once", When(at=60.0), jitter_seconds=10.0)
    assert alone.delay_of(MINUTE, None) < 10_000


def test_ticks_of_a_range_include_both_ends_and_tell_when_there_are_more() -> None:
    timetable = EACH_MINUTE.when.timetable()
    assert ticks_between(timetable, MINUTE, 3 * MINUTE, 10) == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert len(ticks_between(timetable, MINUTE, 300 * MINUTE, 10)) == 11


def test_the_run_id_tells_schedule_and_tick() -> None:
    assert run_id_of("nightly", 1_795_999_500_000) == "nightly@20261130T004500Z"
    assert run_id_of("a@b", 1) == "a@b@19700101T000000.001Z"
    assert schedule_id_of("a@b@19700101T000000.001Z-x1") == "a@b"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": "two words"}, "id must start with a letter or digit"),
        ({"id": "x" * 91}, "at most 90 characters"),
        ({"when": When()}, "give one of cron, every and at"),
        ({"when": When(cron="* * * * *", at=3.0)}, "give one of cron, every and at"),
        ({"when": When(cron="* * * *")}, "is no cron line"),
        ({"when": When(every_seconds=0.5)}, "every must be at least 1 seconds, not 0.5"),
        ({"when": When(every_seconds=float("nan"))}, "every must be more than 0"),
        ({"when": When(every_seconds=60.0, zone="Mars/X")}, "there is no time zone 'Mars/X'"),
        ({"when": When(at=1e300)}, "at must be a moment from 1970"),
        ({"when": When(at=float("nan"))}, "at must be a moment from 1970"),
        ({"jitter_seconds": -1.0}, "jitter must be 0 to"),
        ({"jitter_seconds": float("nan")}, "jitter must be 0 to"),
        ({"catch_up_window_seconds": 0.0}, "catch_up_window must be more than 0"),
        ({"deadline_seconds": 0.0}, "deadline must be more than 0"),
        ({"params": {"a": "${schedule.day}"}}, "'${schedule.day}' is not a reference; write ${schedule.time}"),
        ({"params": {"a": ["${params.b}"]}}, "'${params.b}' is not a reference"),
        ({"params": {"a": "${schedule.time"}}, "has no closing }"),
    ],
)
def test_what_is_refused_and_why(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScheduleError) as raised:
        replace(EACH_MINUTE, **change).checked()
    assert sentence in str(raised.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ScheduleError) as raised:
        replace(EACH_MINUTE, id="?", when=When(), jitter_seconds=-1.0).checked()
    assert len(raised.value.problems) == 3


def test_parameters_refer_to_the_tick_in_the_zone_of_the_schedule() -> None:
    schedule = Schedule(
        "nightly",
        When(cron="0 3 * * *", zone="Europe/Paris"),
        {"day": "${schedule.time}", "all": ["of ${schedule.id}", {"n": 1}], "literal": "$${schedule.x}"},
    ).checked()
    assert schedule.params_at(1_795_999_500_000) == {
        "day": "2026-11-30T01:45:00+01:00",
        "all": ["of nightly", {"n": 1}],
        "literal": "${schedule.x}",
    }


def test_options_make_a_schedule() -> None:
    made = schedule_of(
        "n", {"at": "2026-07-01T12:00", "zone": "Europe/Paris", "overlap": "allow_all", "catch_up": "all"}
    )
    assert made == Schedule("n", When(at=1_782_900_000.0, zone="Europe/Paris"), {}, Overlap.ALLOW_ALL, CatchUp.ALL)
    assert schedule_of("n", {"at": datetime.fromisoformat("2026-07-01T10:00:00+00:00")}).when.at == 1_782_900_000.0
    for options, sentence in (
        ({"overlap": "skipp"}, "overlap must be one of .*did you mean 'skip'"),
        ({"catch_up": "some"}, "catch_up must be one of all, one, none"),
        ({"crom": "* * * * *"}, "crom is no option; did you mean 'cron'"),
        ({"at": "tomorrow"}, "is no moment"),
    ):
        with pytest.raises(UsageError, match=sentence):
            schedule_of("n", options)  # type: ignore[arg-type]


def test_a_definition_comes_back_and_the_same_one_has_the_same_bytes() -> None:
    first = replace(
        EACH_MINUTE, params={"a": 1, "b": {"x": 1, "y": [2]}}, tags={"t": "1", "s": "2"}, deadline_seconds=3.0
    )
    again = replace(first, params={"b": {"y": [2], "x": 1}, "a": 1}, tags={"s": "2", "t": "1"})
    body = encode_definition(Definition(first, b"flow"))
    assert decode_definition(body) == Definition(first, b"flow")
    assert encode_definition(Definition(again, b"flow")) == body
    assert digest_of(body) != digest_of(encode_definition(Definition(first, b"other")))


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x91\x02", b"\x92\x01\xa1a", b"\x9b\x01" + b"\xc0" * 10])
def test_bytes_that_are_no_definition(body: bytes) -> None:
    with pytest.raises(WireError):
        decode_definition(body)


def test_parameters_nested_too_deep_are_refused() -> None:
    value: Any = "x"
    for _ in range(100):
        value = [value]
    with pytest.raises(FlowError, match="nested deeper"):
        replace(EACH_MINUTE, params={"a": value}).params_at(0)
