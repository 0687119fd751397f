"""When something is due: cron lines where clocks are changed, intervals, moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from taskmesh.errors import UsageError
from taskmesh.timetable import LAST_MOMENT, Cron, Every, Once, Timetable, iso_text, read_moment, zone_of

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def _after(timetable: Timetable, moment: int, count: int) -> list[int]:
    found: list[int] = []
    at: int | None = moment
    while len(found) < count and at is not None and (at := timetable.after(at)) is not None:
        found.append(at)
    return found


def _shown(line: str, zone: str, start: str, count: int) -> list[str]:
    place = zone_of(zone)
    return [iso_text(at, place) for at in _after(Cron(line, zone), read_moment(start, place), count)]


@pytest.mark.parametrize(
    ("zone", "line", "start", "due"),
    [
        # Clocks jump over 02:30: it is due when the jump ends, once, and at its own time on the next day.
        ("Europe/Paris", "30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        (
            "Europe/Paris",
            "0 30 2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "America/New_York",
            "0 30 2 * * *",
            "2026-03-08T01:59",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        # All that lies within the jump is due at its end together with what is due there anyway: one tick.
        (
            "Europe/Paris",
            "0 15,45 2,3 * * *",
            "2026-03-29T01:50",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:15:00+02:00"],
        ),
        (
            "Europe/Paris",
            "0 0 2,3 * * *",
            "2026-03-29T01:50",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        # Clocks show 02:30 twice: it is due the first time.
        (
            "Europe/Paris",
            "0 30 2 * * *",
            "2026-10-25T00:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-11-01T00:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        # A pace goes on through both hours, and does not stop at the jump.
        (
            "Europe/Paris",
            "0 */30 * * * *",
            "2026-10-25T02:00",
            [
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00",
            ],
        ),
        (
            "Europe/Paris",
            "*/30 * * * *",
            "2026-03-29T01:00",
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"],
        ),
        # Half an hour of change: 02:00 becomes 02:30, and 02:00 becomes 01:30.
        (
            "Australia/Lord_Howe",
            "0 15 2 * * *",
            "2026-10-03T12:00",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "0 45 1 * * *",
            "2026-04-04T12:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
        ),
        (
            "Australia/Lord_Howe",
            "*/10 3 * * *",
            "2026-04-05T00:00",
            ["2026-04-05T03:00:00+10:30", "2026-04-05T03:10:00+10:30"],
        ),
        # No change at all, and half an hour beside the others.
        (
            "Asia/Kolkata",
            "0 0 9 * * MON-FRI",
            "2026-03-27T09:00",
            ["2026-03-30T09:00:00+05:30", "2026-03-31T09:00:00+05:30"],
        ),
        # It had summer time until 2019, changed at midnight: that day began at 01:00.
        (
            "America/Sao_Paulo",
            "0 0 * * *",
            "2018-11-03T12:00",
            ["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"],
        ),
        (
            "America/Sao_Paulo",
            "0 30 23 * * *",
            "2018-02-17T12:00",
            ["2018-02-17T23:30:00-02:00", "2018-02-18T23:30:00-03:00"],
        ),
        (
            "America/Sao_Paulo",
            "0 0 * * *",
            "2020-11-03T12:00",
            ["2020-11-04T00:00:00-03:00", "2020-11-05T00:00:00-03:00"],
        ),
        # 30 December 2011 was left out.
        (
            "Pacific/Apia",
            "0 0 12 * * *",
            "2011-12-28T13:00",
            ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00"],
        ),
        ("Pacific/Apia", "0 * * * *", "2011-12-29T22:30", ["2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00"]),
        # Ends of years, leap days, last days.
        (
            "Pacific/Auckland",
            "59 59 23 31 12 *",
            "2026-06-01T00:00",
            ["2026-12-31T23:59:59+13:00", "2027-12-31T23:59:59+13:00"],
        ),
        ("Europe/Paris", "0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00:00+01:00", "2032-02-29T00:00:00+01:00"]),
        ("UTC", "0 0 0 L * *", "2028-02-01T00:00", ["2028-02-29T00:00:00+00:00", "2028-03-31T00:00:00+00:00"]),
        ("UTC", "* * * * * *", "2026-12-31T23:59:58", ["2026-12-31T23:59:59+00:00", "2027-01-01T00:00:00+00:00"]),
    ],
)
def test_when_a_line_is_due(zone: str, line: str, start: str, due: list[str]) -> None:
    assert _shown(line, zone, start, len(due)) == due


ZONES = [
    "Europe/Paris",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "Pacific/Apia",
]
YEARS = [2011, 2018, 2024, 2026]
PACES = ["0 * * * *", "*/20 1-3 * * *", "* 2 * * *", "7 */2 * * 0", "15 * 29-31 * *"]
TIMES = ["30 2 * * *", "15,45 1-3 * * *", "0 0 * * *", "30 2 * * 0", "59 23 31 12 *", "0 0 29 2 *"]


def _days_of_interest(place: ZoneInfo, year: int) -> list[datetime]:
    """The days on which clocks are changed, and the last of February and of the year, each from noon before."""
    noons = [datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=at) for at in range(365)]
    changed = [day for day in noons if day.astimezone(place).utcoffset() != _later(day).astimezone(place).utcoffset()]
    return [*changed, datetime(year, 2, 28, tzinfo=UTC), datetime(year, 12, 30, 12, tzinfo=UTC)]


def _later(day: datetime) -> datetime:
    return day + timedelta(days=1)


@pytest.mark.parametrize("zone", ZONES)
def test_a_pace_is_due_whenever_the_clocks_show_a_time_that_matches(zone: str) -> None:
    place = ZoneInfo(zone)
    for start in [day for year in YEARS for day in _days_of_interest(place, year)]:
        shown = [(start + timedelta(minutes=at)).astimezone(place) for at in range(2 * 24 * 60)]
        for line in PACES:
            plain = CronSim(line, datetime(2000, 1, 1))
            wanted = [round(at.timestamp()) * 1000 for at in shown if _matches(plain, at)]
            assert _after(Cron(line, zone), round(start.timestamp()) * 1000 - 1, len(wanted)) == wanted


def _matches(line: CronSim, at: datetime) -> bool:
    is_time = at.minute in line.minutes and at.hour in line.hours
    return is_time and at.month in line.months and line.match_day(at.date())


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("line", TIMES)
def test_times_of_the_wall_clock_are_those_of_debian_with_and_without_seconds(line: str, zone: str) -> None:
    start = datetime(2010, 1, 1, tzinfo=ZoneInfo(zone))
    debian = CronSim(line, start)
    wanted = [round(next(debian).timestamp()) * 1000 for _ in range(2000 if line.endswith("* * *") else 40)]
    moment = round(start.timestamp()) * 1000
    assert _after(Cron(line, zone), moment, len(wanted)) == wanted
    assert _after(Cron(f"0 {line}", zone), moment, len(wanted)) == wanted


@given(
    line=st.sampled_from([*PACES, *TIMES, "*/7 * * * * *", "30 30 2 * * *"]),
    zone=st.sampled_from(ZONES),
    second=st.integers(1_200_000_000, 1_900_000_000),
)
@settings(max_examples=200, deadline=None)
def test_what_comes_after_a_moment_is_later_and_nothing_lies_between(line: str, zone: str, second: int) -> None:
    cron, moment = Cron(line, zone), second * 1000 + 500
    first = cron.after(moment)
    assert first is not None
    assert first > moment
    between = (moment + first) // 2
    assert cron.after(between if between < first else moment) == first
    assert all(earlier < later for earlier, later in pairwise(_after(cron, moment, 20)))


@pytest.mark.parametrize(
    "line",
    ["", "* * * *", "* * * * * * *", "60 * * * *", "0 0 31 2 *", "a b c d e", "*/0 * * * *", "1," * 150 + "1 * * * *"],
)
def test_what_is_no_cron_line(line: str) -> None:
    with pytest.raises(UsageError, match="is no cron line"):
        Cron(line, "UTC")


@pytest.mark.parametrize(
    "name", ["", "Mars/Phobos", "../../etc/passwd", "/etc/localtime", "Europe", "Europe/Paris\0", "x" * 99]
)
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(UsageError, match="there is no time zone"):
        zone_of(name)


def test_a_line_that_never_matches_is_never_due() -> None:
    assert Cron("* * */20 * 1L", "UTC").after(0) is None
    assert Cron("0 0 * * *", "UTC").after(10**16) is None
    assert Cron("0 0 * * *", "Pacific/Apia").after(LAST_MOMENT - 1) is None
    assert Cron("0 0 * * *", "UTC").after(-(10**16)) == 0


def test_an_interval_is_due_at_its_multiples_whoever_reckons() -> None:
    assert _after(Every(90_000), 1, 3) == [90_000, 180_000, 270_000]
    assert Every(90_000).after(90_000) == 180_000


def test_a_moment_is_due_once() -> None:
    assert _after(Once(5_000), 0, 9) == [5_000]
    assert Once(5_000).after(5_000) is None


def test_a_moment_is_read_in_the_zone_unless_it_says_where() -> None:
    paris = zone_of("Europe/Paris")
    assert read_moment("2026-07-01T12:00", paris) == read_moment("2026-07-01T10:00:00Z", paris)
    assert iso_text(read_moment("2026-10-25T02:30", paris), paris) == "2026-10-25T02:30:00+02:00"
    assert iso_text(1_500, zone_of("UTC")) == "1970-01-01T00:00:01.500+00:00"
    for text in ("", "soon", "2026-13-01", "9999-12-31T23:59:59-14:00"):
        with pytest.raises(UsageError, match="is no moment"):
            read_moment(text, paris)
    for text in ("9000-01-01T00:00Z", "1969-12-31T23:59:59Z", "0001-01-02"):
        with pytest.raises(UsageError, match="is out of range"):
            read_moment(text, paris)
