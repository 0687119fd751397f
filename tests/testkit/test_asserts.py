"""What tests may assert of runs, and what they are told when it does not hold."""

from __future__ import annotations

import pytest

from taskmesh import Run, UsageError
from taskmesh.testing import (
    VirtualMesh,
    assert_attempts,
    assert_compensated,
    assert_order,
    assert_states,
    picture_of,
)
from taskmesh.testing.asserts import Step


@pytest.fixture
def run(mesh: VirtualMesh) -> Run:
    """A diamond whose last node has failed, so that what it stands on was undone."""

    @mesh.task
    def work(label: str) -> str:
        return label

    @work.compensate
    def undo(label: str) -> None: ...

    @mesh.task
    def fail(parts: list[str]) -> None:
        raise ValueError("as planned")

    @mesh.flow(on_failure="compensate")
    def diamond() -> object:
        top = work("top").named("top")
        sides = [work(name).named(name).after(top) for name in ("left", "right")]
        return fail(sides).named("bottom")

    run = mesh.submit(diamond, id="diamond-1")
    assert run.wait() == "compensated"
    return run


def test_what_holds_is_passed_over(run: Run) -> None:
    assert_order(run, "top", {"left", "right"}, "bottom")
    assert_order(run, "top", "left")
    assert_order(run)
    assert_states(run, top="succeeded", bottom="failed")
    assert_states(run, {"left": "succeeded"}, right="succeeded")
    assert_attempts(run, {"top": 1}, bottom=1)
    assert_compensated(run, {"right", "left"}, "top")
    assert_compensated(run, "left", "right", "top")


def test_an_order_that_does_not_hold(run: Run) -> None:
    with pytest.raises(AssertionError, match=r"^left began before bottom had ended\nrun diamond-1 of diamond: comp"):
        assert_order(run, "top", "bottom", ["left", "right"])
    with pytest.raises(AssertionError, match="top began before left had ended"):
        assert_order(run, {"left"}, "top")


def test_an_order_of_what_has_not_happened(mesh: VirtualMesh) -> None:
    @mesh.task
    def work(parts: list[object] | None = None) -> None: ...

    @mesh.flow
    def chain() -> object:
        return work([work().named("first")]).named("second")

    mesh.stub(work, takes=60)
    run = mesh.submit(chain)
    mesh.clock.advance(90)

    with pytest.raises(AssertionError, match="second has not ended, so first cannot have come after it"):
        assert_order(run, "second", "first")
    mesh.clock.advance(60)
    assert_order(run, "first", "second")


def test_a_node_that_has_not_begun_has_not_come_after_another(mesh: VirtualMesh) -> None:
    @mesh.task
    def work(parts: list[object] | None = None) -> None: ...

    @mesh.flow
    def three() -> object:
        first = work().named("first")
        slow = work().named("slow")
        return work([first, slow]).named("last")

    mesh.stub(work, takes=60, times=1)
    run = mesh.submit(three)
    mesh.clock.advance(30)

    with pytest.raises(AssertionError, match="has not begun, so it has not come after slow"):
        assert_order(run, "slow", "last")


def test_states_and_attempts_that_differ_are_told_together(run: Run) -> None:
    with pytest.raises(AssertionError, match="top is succeeded, not skipped; bottom is failed, not succeeded\nrun"):
        assert_states(run, top="skipped", bottom="succeeded")
    with pytest.raises(AssertionError, match="bottom had 1 attempts, not 3\nrun"):
        assert_attempts(run, bottom=3, top=1)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((), "undone were left, right, top, not none\n"),
        (("top",), "not top\n"),
        (("top", {"left", "right"}), "not top, left and right\n"),
        ((["right", "left"],), "not left and right\n"),
    ],
)
def test_undos_that_differ(run: Run, steps: tuple[Step, ...], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_compensated(run, *steps)


def test_names_that_the_run_does_not_have(run: Run) -> None:
    with pytest.raises(UsageError, match=r"no node 'botom'.*'bottom'"):
        assert_states(run, botom="failed")
    with pytest.raises(UsageError, match=r"no state 'faild'.*'failed'"):
        assert_states(run, bottom="faild")
    with pytest.raises(UsageError, match="no node 'lefft'"):
        assert_order(run, "top", "lefft")
    with pytest.raises(UsageError, match="no node 'tip'"):
        assert_compensated(run, "tip")


def test_the_picture_of_a_run(run: Run) -> None:
    lines = picture_of(run).splitlines()

    assert lines[0] == "run diamond-1 of diamond: compensated, node 'bottom': ValueError: as planned"
    assert "  bottom               failed (needs left, right): ValueError: as planned" in lines
    assert any(line.endswith("s  bottom failed: ValueError: as planned") for line in lines)
