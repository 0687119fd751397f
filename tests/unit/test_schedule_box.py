"""Schedules as a person deals with them: what is put, refused, triggered and backfilled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskmesh.client.limits import ClientLimits
from taskmesh.client.parts import ClientParts
from taskmesh.client.schedules import ScheduleBox
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import FlowError, ScheduleError, ScheduleNotFoundError, TooLargeError, UsageError
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.model.schedules.schedule import Schedule, When, run_id_of
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.link import Command
from taskmesh.store.opening import open_link
from tests.contract.schedule_bench import ID, ScheduleBench

PLAN = Plan.of(Flow("report", "2", (Node("only", "t"),), params=(Param("day", ParamType.STRING),)))
NIGHTLY = Schedule(ID, When(cron="0 0 3 * * *", zone="Europe/Paris"), {"day": "${schedule.time}"})
LIMITS = ClientLimits(max_value_bytes=1000, max_nodes=5)


class MovableTime(Housekeeping):
    """Housekeeping whose clock the test moves."""

    at = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()

    def time(self) -> float:
        return self.at


class BoxBench(ScheduleBench):
    """A box at a time that the test sets; the scripts have the server's."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(open_link(url, 2.0, 5.0), namespace)
        self.clock = MovableTime(self.link, self.keys, 60.0)
        self.sent: list[Any] = []
        publisher = SimpleNamespace(publish=self.sent.extend)
        plans = Plans(self.runs.flow_body)
        parts = SimpleNamespace(store=self.store, keys=self.keys, plans=plans, publisher=publisher)
        self.box = ScheduleBox(cast("ClientParts", parts), self.clock, LIMITS)


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[BoxBench]:
    bench = BoxBench(valkey_url, namespace)
    yield bench
    bench.link.close()


def test_a_schedule_is_put_and_shown_with_its_flow_and_zone(bench: BoxBench) -> None:
    assert bench.box.put(NIGHTLY, PLAN)
    found = bench.box.get(ID)
    assert (found.schedule, found.flow, found.version) == (NIGHTLY, "report", "2")
    assert str(found.next_tick) == "2026-12-01 03:00:00+01:00"
    assert [tick.day for tick in bench.box.next(ID, 3)] == [1, 2, 3]
    assert bench.box.ls() == [found]


def test_the_same_again_changes_nothing_and_another_replaces_it(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    before = bench.box.get(ID)
    bench.clock.at += 86_400
    assert not bench.box.put(NIGHTLY, PLAN)
    assert bench.box.get(ID) == before
    assert bench.box.put(replace(NIGHTLY, jitter_seconds=5.0), PLAN)
    assert bench.box.get(ID).record.standing.revision != before.record.standing.revision
    other = Plan.of(replace(PLAN.flow, version="3"))
    assert bench.box.put(replace(NIGHTLY, jitter_seconds=5.0), other)
    assert bench.box.get(ID).version == "3"


def test_a_change_loses_no_tick_that_is_due_and_has_not_begun(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    due = bench.box.get(ID).next_tick
    bench.clock.at += 5 * 86_400
    bench.box.put(replace(NIGHTLY, jitter_seconds=5.0), PLAN)
    assert bench.box.get(ID).next_tick == due


def test_a_moment_that_is_over_is_refused_but_stays_as_it_is_when_put_again(bench: BoxBench) -> None:
    once = replace(NIGHTLY, when=When(at=bench.clock.at + 60))
    bench.box.put(once, PLAN)
    bench.clock.at += 3600
    assert not bench.box.put(once, PLAN)
    with pytest.raises(ScheduleError, match="it would never be due"):
        bench.box.put(replace(once, id="other"), PLAN)
    with pytest.raises(ScheduleError, match="it would never be due"):
        bench.box.put(replace(NIGHTLY, id="other", when=When(cron="* * */20 * 1L")), PLAN)


@pytest.mark.parametrize(
    ("schedule", "plan", "error", "sentence"),
    [
        (replace(NIGHTLY, when=When()), PLAN, ScheduleError, "give one of cron, every and at"),
        (replace(NIGHTLY, params={}), PLAN, FlowError, "parameter 'day' \\(string\\) is missing"),
        (replace(NIGHTLY, params={"day": "x" * 2000}), PLAN, TooLargeError, "limits.max_value_bytes allows 1000"),
        (
            NIGHTLY,
            Plan.of(Flow("wide", "1", tuple(Node(f"n{at}", "t") for at in range(6)))),
            TooLargeError,
            "limits.max_nodes allows 5",
        ),
    ],
)
def test_what_its_runs_would_be_refused_for_is_told_now(
    bench: BoxBench, schedule: Schedule, plan: Plan, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        bench.box.put(schedule, plan)
    assert bench.box.ls() == []


def test_an_unknown_id_gets_a_hint(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    for act in (bench.box.get, bench.box.next, bench.box.pause, bench.box.resume, bench.box.trigger, bench.box.delete):
        with pytest.raises(ScheduleNotFoundError, match="did you mean 'nightly'"):
            act("nightli")
    with pytest.raises(ScheduleNotFoundError, match="did you mean 'nightly'"):
        bench.box.backfill("nightli", "2026-11-01", "2026-11-02")


def test_a_trigger_admits_its_run_and_sends_it_off(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    run_id = bench.box.trigger(ID)
    assert run_id.startswith(f"{ID}@20261130T120000Z-")
    assert len(bench.sent) == 1
    assert bench.recorded() == []
    assert [run.run_id for run in bench.box.get(ID).record.started] == [run_id]


def test_who_paused_it_is_told_until_it_is_resumed(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    bench.box.pause(ID, "the moon is full")
    paused = bench.box.get(ID).record.paused
    assert paused is not None
    assert paused.why == "the moon is full"
    bench.box.resume(ID)
    assert bench.box.get(ID).record.paused is None
    bench.box.delete(ID)
    assert bench.box.ls() == []


def test_a_backfill_lists_its_ticks_and_runs_none_when_it_is_dry(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    range_ = ("2026-10-24T03:00", datetime(2026, 10, 26, 2, tzinfo=UTC))
    ticks = bench.box.backfill(ID, *range_, dry_run=True)
    assert [str(tick) for tick in ticks] == [
        "2026-10-24 03:00:00+02:00",
        "2026-10-25 03:00:00+01:00",
        "2026-10-26 03:00:00+01:00",
    ]
    assert bench.box.get(ID).record.backfill == 0
    assert bench.box.backfill(ID, *range_, reverse=True, max_active=2) == ticks[::-1]
    assert bench.box.get(ID).record.backfill == 3
    first = bench.relieve().recorded
    assert [each.run_id for each in first] == [run_id_of(ID, round(at.timestamp()) * 1000) for at in ticks[:0:-1]]


@pytest.mark.parametrize(
    ("first", "last", "options", "sentence"),
    [
        ("2026-10-02", "2026-10-01", {}, "begins before it ends"),
        ("2026-11-01", "2027-01-01", {}, "ends before now"),
        ("soon", "2026-11-01", {}, "is no moment"),
        ("2026-10-01", "2026-11-01", {"max_active": 0}, "at least 1 and at most 1000"),
        ("1990-01-01", "2026-11-01", {}, "more than 10000 ticks"),
    ],
)
def test_a_range_that_cannot_be_backfilled(
    bench: BoxBench, first: str, last: str, options: dict[str, Any], sentence: str
) -> None:
    bench.box.put(NIGHTLY, PLAN)
    with pytest.raises(UsageError, match=sentence):
        bench.box.backfill(ID, first, last, **options)
    assert bench.box.get(ID).record.backfill == 0


def test_what_this_version_cannot_read_is_said(bench: BoxBench) -> None:
    bench.box.put(NIGHTLY, PLAN)
    key = bench.keys.partition_of(ID).schedule(ID)
    revision = bench.standing().revision
    bench.link.exchange([Command(key, "HSET", key, f"definition:{revision}", b"\x91\x63")])
    bench.box._definitions._known.clear()
    with pytest.raises(ScheduleError, match="cannot read"):
        bench.box.get(ID)
    assert bench.box.ls() == []
