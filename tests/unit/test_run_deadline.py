"""A run has until its deadline, and its attempts with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from taskmesh import UsageError
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Node
from taskmesh.model.policies import RetryPolicy, Wait
from taskmesh.wire import unpack
from taskmesh.worker.channels.protocol import Failure
from tests.contract.store_bench import plan_of
from tests.unit.engine_bench import EngineBench, single

Test = Callable[[EngineBench], Awaitable[None]]
PATIENT = plan_of(Node("only", "t", retry=RetryPolicy(max_attempts=9, wait=Wait.FIXED, base_seconds=60.0)))


def _error(bench: EngineBench) -> dict[str, str]:
    error: dict[str, str] = unpack(bench.side.record().errors[0])
    return error


def test_nothing_begins_after_the_deadline(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        [body] = bench.submit(single(), deliver=False, deadline_seconds=0.001)
        await asyncio.sleep(0.05)
        bench.broker.deliver(body)
        await bench.until(lambda: bench.is_idle and bench.status() == "failed")
        assert not bench.pool.times
        assert _error(bench)["type"] == "RunDeadline"

    play_by_hand(test)


def test_what_runs_at_the_deadline_is_killed_and_not_tried_again(play_by_hand: Callable[[Test], None]) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(PATIENT, deadline_seconds=0.5)
        await bench.until(lambda: len(bench.pool.works) == 1)
        [work] = bench.pool.works.values()
        assert work.timed
        assert work.deadline is not None
        bench.engine.on_started(work.id)
        await bench.until(lambda: bench.is_idle and bench.status() == "failed")
        assert _error(bench)["type"] == "RunDeadline"
        assert bench.side.record().nodes[0].retries == 0

    play_by_hand(test)


@pytest.mark.parametrize(("deadline_seconds", "goes_on"), [(30.0, False), (3600.0, True)])
def test_no_attempt_is_planned_beyond_the_deadline(
    play_by_hand: Callable[[Test], None], deadline_seconds: float, goes_on: bool
) -> None:
    async def test(bench: EngineBench) -> None:
        bench.submit(PATIENT, deadline_seconds=deadline_seconds)
        await bench.until(lambda: len(bench.pool.works) == 1)
        bench.pool.finish(next(iter(bench.pool.works)), Failure("ValueError", "no", "", ("ValueError",)))
        await bench.until(lambda: bench.is_idle)
        assert bench.side.record().nodes[0].state == ("retrying" if goes_on else "failed")
        assert ("not tried again: the deadline of the run" in _error(bench)["message"]) != goes_on

    play_by_hand(test)


@pytest.mark.parametrize(("given", "gets"), [(None, 60.0), (5.0, 5.0), (600.0, 600.0)])
def test_the_timeout_of_a_flow_is_for_those_who_give_no_deadline(given: float | None, gets: float) -> None:
    plan = Plan.of(replace(single().flow, timeout_seconds=60.0))
    assert plan.hash != single().hash
    assert Plan.from_body(plan.body).flow.timeout_seconds == 60.0
    assert entrance_of(plan, Submission({}, deadline_seconds=given), 1000).deadline_seconds == gets
    assert entrance_of(single(), Submission({}), 1000).deadline_seconds is None


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), 1e12])
def test_a_deadline_must_be_some_time_ahead(seconds: float) -> None:
    with pytest.raises(UsageError, match="deadline_seconds must be more than 0"):
        entrance_of(single(), Submission({}, deadline_seconds=seconds), 1000)
