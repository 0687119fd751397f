"""What befalls a mesh when a test wants it to, and that it gets over it as it would anywhere."""

from __future__ import annotations

import pytest

from taskmesh import Run, RunFailedError, StoreUnavailableError, Task, UsageError
from taskmesh.testing import MeshFactory, VirtualMesh, assert_attempts, assert_states


@pytest.fixture
def mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    """With two tasks, of which ``effect`` notes what it did, and a flow of both."""
    mesh = mesh_factory()

    @mesh.task(name="effect")
    def effect() -> int:
        return 1

    @mesh.task(name="after")
    def after(value: int) -> int:
        return value + 1

    return mesh


def play(mesh: VirtualMesh) -> Run:
    effect: Task[[], int] = mesh.registry.require("effect")
    after: Task[[int], int] = mesh.registry.require("after")

    @mesh.flow(name="play")
    def flow() -> object:
        return after(effect().named("first"))

    run = mesh.submit(flow)
    assert run.result() == 2
    assert mesh.faults.pending == []
    assert_states(run, first="succeeded", after="succeeded")
    return run


@pytest.mark.parametrize(("after_effect", "effects"), [(False, 1), (True, 2)])
def test_an_executor_that_dies_is_replaced(mesh: VirtualMesh, after_effect: bool, effects: int) -> None:
    mesh.faults.executor_dies("effect", after_effect=after_effect)
    start = mesh.clock.now()
    run = play(mesh)

    assert len(mesh.calls("effect")) == effects
    assert_attempts(run, first=2)
    assert mesh.clock.now() - start < 1


def test_a_task_that_takes_down_every_executor_fails(mesh: VirtualMesh) -> None:
    mesh.faults.executor_dies("effect", times=mesh.settings.worker.max_crashes)

    with pytest.raises(RunFailedError, match="signal 9"):
        mesh.registry.require("effect").send().result()


@pytest.mark.parametrize(("after_effect", "effects"), [(False, 1), (True, 2)])
def test_a_worker_that_dies_is_replaced_when_its_lease_is_over(
    mesh: VirtualMesh, after_effect: bool, effects: int
) -> None:
    mesh.faults.worker_dies("effect", after_effect=after_effect)
    start = mesh.clock.now()
    run = play(mesh)

    assert len(mesh.calls("effect")) == effects
    assert_attempts(run, first=2)
    assert mesh.settings.worker.lease_seconds <= mesh.clock.now() - start < 60


def test_what_a_paused_worker_says_too_late_does_not_count(mesh: VirtualMesh) -> None:
    mesh.stub("effect", side_effect=iter([100, 1]).__next__)
    mesh.faults.worker_pauses("effect")
    run = play(mesh)
    first, second = mesh.calls("effect")
    mesh.clock.advance(120)

    assert (first.output, second.output) == (100, 1)
    assert run.result() == 2
    assert [event.state for event in run.history("first")].count("succeeded") == 1
    assert_attempts(run, first=2)


def test_a_worker_that_pauses_for_less_than_its_lease_keeps_its_node(mesh: VirtualMesh) -> None:
    mesh.faults.worker_pauses("effect", seconds=5)
    run = play(mesh)

    assert len(mesh.calls("effect")) == 1
    assert_attempts(run, first=1)


def test_a_lost_message_is_sent_again(mesh: VirtualMesh) -> None:
    mesh.faults.message_lost("effect")
    start = mesh.clock.now()
    run = play(mesh)

    assert len(mesh.calls("effect")) == 1
    assert_attempts(run, first=1)
    assert mesh.clock.now() - start > 1


def test_a_message_that_comes_twice_runs_its_node_once(mesh: VirtualMesh) -> None:
    mesh.faults.message_doubled("effect")
    mesh.faults.message_doubled("after")
    run = play(mesh)

    assert [len(mesh.calls(each)) for each in ("effect", "after")] == [1, 1]
    assert_attempts(run, first=1, after=1)


def test_runs_go_on_when_the_store_is_back(mesh: VirtualMesh) -> None:
    mesh.stub("effect", takes=10)
    run = mesh.registry.require("effect").send()
    mesh.clock.advance(5)
    mesh.faults.store_away(600)
    with pytest.raises(StoreUnavailableError, match="the test has taken it away"):
        run.status()
    with pytest.raises(StoreUnavailableError):
        mesh.registry.require("effect").send()
    mesh.clock.advance(601)

    assert run.result() == 1
    assert_attempts(run, task=1)


def test_who_waits_while_the_store_goes_away_goes_on_waiting(mesh: VirtualMesh) -> None:
    mesh.stub("effect", takes=10)

    def cut_off(value: int) -> int:
        mesh.faults.store_away(60)
        return value + 1

    mesh.stub("after", side_effect=cut_off)

    assert play(mesh).status() == "succeeded"


def test_a_fault_has_to_be_of_a_task_and_to_befall(mesh: VirtualMesh) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        mesh.faults.message_lost("effect", times=0)
    mesh.faults.message_lost("effect", times=2)
    assert mesh.faults.pending == ["message lost: effect (2 times)"]
