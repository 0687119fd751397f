"""The time of a virtual mesh: it stands still, goes where it is told to, and misses nothing on the way."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from taskmesh import ResultTimeoutError, Retry, RunFailedError, UsageError, current_task
from taskmesh.testing import MeshFactory, PatienceError, StandstillError, VirtualMesh, assert_attempts, assert_states

DAY_SECONDS = 86_400


def test_nothing_happens_while_nobody_waits(mesh: VirtualMesh) -> None:
    called = threading.Event()

    @mesh.task
    def step() -> None:
        called.set()

    run = step.send()

    assert not called.wait(0.2)
    assert run.status() == "running"
    mesh.settle()
    assert called.is_set()
    assert run.status() == "succeeded"


def test_a_flow_of_thirty_days_takes_less_than_a_second(mesh: VirtualMesh) -> None:
    @mesh.task(retry=Retry(max_attempts=11, wait="fixed", base_seconds=3 * DAY_SECONDS, max_seconds=3 * DAY_SECONDS))
    def collect() -> str:
        return "paid"

    mesh.stub(collect, raises=[OSError("not yet")] * 10)
    begun, start = time.monotonic(), mesh.clock.now()
    run = collect.send()

    assert run.result() == "paid"
    assert mesh.clock.now() - start == pytest.approx(30 * DAY_SECONDS, abs=0.1)
    assert [round((call.at - start) / DAY_SECONDS, 3) for call in mesh.calls(collect)] == [3 * n for n in range(11)]
    # It takes 0.3 s; what is left is for a loaded machine.
    assert time.monotonic() - begun < 30


def test_the_time_stands_still_while_a_task_runs(mesh: VirtualMesh) -> None:
    seen: list[float] = []

    @mesh.task(timeout=0.01)
    def slow() -> None:
        seen.append(mesh.clock.now())
        time.sleep(0.1)
        seen.append(mesh.clock.now())

    slow.send().result()

    assert seen[0] == seen[1]


def test_what_is_due_on_the_way_happens_when_it_is_due(mesh: VirtualMesh) -> None:
    @mesh.task
    def tick() -> None: ...

    start = mesh.clock.now()
    mesh.schedule(tick, id="hourly", cron="0 0 * * * *")
    mesh.clock.advance(DAY_SECONDS + 1)

    assert [round(call.at - start) for call in mesh.calls(tick)] == [3600 * hour for hour in range(1, 25)]
    assert len(mesh.runs()) == 24
    assert mesh.clock.now() == pytest.approx(start + DAY_SECONDS + 1, abs=0.001)


def test_a_time_limit_is_kept_by_the_virtual_time(mesh: VirtualMesh) -> None:
    @mesh.task(timeout=3600)
    def endless() -> None: ...

    mesh.stub(endless, takes=math.inf)
    start = mesh.clock.now()

    with pytest.raises(RunFailedError, match="it ran for more than 3600 s"):
        endless.send().result()
    assert mesh.clock.now() - start == pytest.approx(3600, abs=0.1)
    assert mesh.calls(endless) == []


def test_a_task_that_gives_no_heartbeat_is_killed(mesh: VirtualMesh) -> None:
    @mesh.task(heartbeat_timeout=10, retry=Retry(max_attempts=2, wait="fixed", base_seconds=1))
    def silent() -> str:
        return "done"

    mesh.stub(silent, takes=60, times=1)
    run = silent.send()

    assert run.result() == "done"
    assert_attempts(run, task=2)


def test_a_checkpoint_outlives_the_executor(mesh: VirtualMesh) -> None:
    @mesh.task(heartbeat_timeout=10)
    def count() -> list[object]:
        task = current_task()
        seen = [*(task.checkpoint or []), task.attempt]
        task.heartbeat(seen)
        return seen

    mesh.faults.executor_dies(count, times=2, after_effect=True)

    assert count.send().result() == [1, 2, 3]


def test_the_deadline_of_a_run_ends_it(mesh: VirtualMesh) -> None:
    @mesh.task
    def endless() -> None: ...

    mesh.stub(endless, takes=math.inf)
    start = mesh.clock.now()
    run = mesh.submit(endless, deadline_seconds=7 * DAY_SECONDS)

    assert run.wait() == "failed"
    assert mesh.clock.now() - start == pytest.approx(7 * DAY_SECONDS, abs=5)


def test_nodes_that_take_their_time_do_so_side_by_side(mesh: VirtualMesh) -> None:
    @mesh.task
    def work(seconds: int) -> int:
        return seconds

    @mesh.task
    def join(parts: list[int]) -> int:
        return max(parts)

    @mesh.flow
    def fork() -> object:
        return join([work(100), work(200).named("other")])

    mesh.stub(work, takes=200)
    start = mesh.clock.now()

    assert mesh.submit(fork).result() == 200
    assert mesh.clock.now() - start == pytest.approx(200, abs=0.1)


def test_a_breaker_closes_again_after_its_reset(mesh: VirtualMesh) -> None:
    mesh.breaker("payments", failures=2, reset_seconds=600, ramp_seconds=60)

    @mesh.task(breaker="payments", retry=Retry(max_attempts=5, wait="fixed", base_seconds=1))
    def charge() -> str:
        return "receipt"

    mesh.stub(charge, raises=[ConnectionError(), ConnectionError()])
    run = charge.send()
    mesh.run_until(lambda: mesh.breakers.get("payments").state == "open", timeout=60)
    opened_at = mesh.clock.now()

    assert run.result() == "receipt"
    assert 590 < mesh.clock.now() - opened_at < 700


def test_a_wait_with_a_limit_is_over_after_so_much_virtual_time(mesh: VirtualMesh) -> None:
    @mesh.task
    def slow() -> None: ...

    mesh.stub(slow, takes=100)
    start = mesh.clock.now()
    run = slow.send()

    with pytest.raises(ResultTimeoutError):
        run.result(timeout=30)
    assert mesh.clock.now() - start == pytest.approx(30, abs=0.001)
    run.result(timeout=71)


def test_a_condition_that_does_not_hold_in_time(mesh: VirtualMesh) -> None:
    start = mesh.clock.now()

    with pytest.raises(TimeoutError, match="after 60 s"):
        mesh.run_until(lambda: False, timeout=60)
    assert mesh.clock.now() - start == pytest.approx(60, abs=0.001)
    with pytest.raises(StandstillError, match="nothing will happen any more"):
        mesh.run_until(lambda: False)


def test_who_waits_for_what_never_comes_is_told_why(mesh: VirtualMesh) -> None:
    @mesh.task
    def endless() -> None: ...

    mesh.stub(endless, takes=math.inf)
    run = endless.send()

    with pytest.raises(StandstillError, match=f"run {run.id} is running\n.*\n  task is running"):
        run.result()


def test_a_paused_run_stands_still_and_goes_on(mesh: VirtualMesh) -> None:
    @mesh.task
    def step(value: int) -> int:
        return value + 1

    @mesh.flow
    def chain() -> object:
        return step(step(1).named("first"))

    mesh.stub(step, takes=10)
    run = mesh.submit(chain)
    mesh.clock.advance(5)
    run.pause("lunch")

    with pytest.raises(StandstillError, match=r"it is paused, by .*: lunch"):
        run.result()
    assert_states(run, first="succeeded", step="ready")
    run.resume()
    assert run.result() == 3


def test_a_cancelled_run_ends_once_its_task_was_killed(mesh: VirtualMesh) -> None:
    @mesh.task
    def endless() -> None: ...

    mesh.stub(endless, takes=math.inf)
    run = endless.send()
    mesh.clock.advance(60)
    start = mesh.clock.now()
    run.cancel()

    assert run.wait() == "cancelled"
    assert mesh.clock.now() - start == pytest.approx(mesh.settings.worker.cancel_grace_seconds, abs=3)


def test_watching_goes_on_with_the_run(mesh: VirtualMesh) -> None:
    @mesh.task
    def slow() -> None: ...

    mesh.stub(slow, takes=100)

    assert [event.state for event in slow.send().watch()][-3:] == ["running", "succeeded", "succeeded"]


def test_the_clock_goes_to_a_moment_and_never_back(mesh_factory: MeshFactory) -> None:
    start = datetime(2031, 3, 30, 0, 30, tzinfo=UTC)
    mesh = mesh_factory(start=start)
    assert mesh.clock.today() == start
    mesh.clock.advance_to(start + timedelta(hours=1))

    assert mesh.clock.today() - start == pytest.approx(timedelta(hours=1), abs=timedelta(milliseconds=1))
    with pytest.raises(UsageError, match="cannot go back"):
        mesh.clock.advance_to(start)
    with pytest.raises(UsageError, match="cannot go back"):
        mesh.clock.advance(-1)
    with pytest.raises(UsageError, match="has no zone"):
        mesh.clock.advance_to(datetime(2032, 1, 1))
    with pytest.raises(UsageError, match="has no zone"):
        mesh_factory(start=datetime(2032, 1, 1))


def test_the_same_test_sees_the_same_each_time(mesh_factory: MeshFactory) -> None:
    def play() -> list[tuple[str | None, str, float]]:
        with mesh_factory() as mesh:

            @mesh.task(retry=Retry(max_attempts=3, wait="fixed", base_seconds=5))
            def work(number: int) -> int:
                return number

            @mesh.task
            def join(numbers: list[int]) -> int:
                return sum(numbers)

            @mesh.flow
            def wide() -> object:
                return join([work(n).named(f"part_{n}") for n in range(8)])

            mesh.stub(work, raises=[OSError(), OSError(), OSError()])
            run = mesh.submit(wide, id="wide")
            run.result()
            return [(event.node, event.state, event.at) for event in run.history()]

    first = play()

    assert len(first) > 30
    assert play() == first


def test_a_task_may_wait_for_another_run(mesh: VirtualMesh) -> None:
    @mesh.task(retry=Retry(max_attempts=2, wait="fixed", base_seconds=3600, max_seconds=3600))
    def inner() -> int:
        return 20

    @mesh.task
    def outer() -> int:
        return int(inner.send().result()) + 1

    mesh.stub(inner, raises=[OSError()])

    assert outer.send().result() == 21


def test_async_tasks_and_async_tests(mesh: VirtualMesh) -> None:
    @mesh.task
    async def inner() -> int:
        await asyncio.sleep(0.001)
        return 1

    @mesh.task
    async def outer() -> int:
        run = await inner.asend()
        return int(await run.aresult()) + 1

    async def scenario() -> list[int]:
        runs = [await outer.asend() for _ in range(2)]
        return [await run.aresult() for run in runs]

    # Both would hold the only thread that tasks have, were it not given up while they wait.
    assert asyncio.run(scenario()) == [2, 2]


def test_a_task_that_really_hangs_is_named(mesh_factory: MeshFactory) -> None:
    mesh, gate = mesh_factory(patience_seconds=0.3), threading.Event()

    @mesh.task(name="stuck")
    def stuck() -> None:
        gate.wait(60)

    with pytest.raises(PatienceError, match="these tasks still run: stuck"):
        stuck.send().result()
    gate.set()


def test_a_mesh_on_which_something_is_always_due_does_not_wait_for_ever(mesh_factory: MeshFactory) -> None:
    mesh = mesh_factory(patience_seconds=0.3)

    @mesh.task
    def tick() -> None: ...

    mesh.schedule(tick, id="often", cron="* * * * * *")
    with pytest.raises(PatienceError, match="by the clock on the wall"):
        mesh.run_until(lambda: False)
