"""Nodes that wait, and nodes that begin runs, on the time of a virtual mesh."""

from __future__ import annotations

import time

import pytest

from taskmesh import RunFailedError, load_flow
from taskmesh.cli.output import seconds_of
from taskmesh.testing import StandstillError, VirtualMesh, assert_attempts, assert_order, assert_states

DAY_SECONDS = 86_400

ORDER = """
flow: order
nodes:
  reserve: {task: step}
  paid: {wait: signal, timeout: 30d, needs: [reserve]}
  cool: {sleep: 14d, needs: [paid]}
  ok: {approve: "Ship it?", timeout: 7d, needs: [cool]}
  ship: {task: step, needs: [ok]}
"""


@pytest.fixture
def step(mesh: VirtualMesh) -> None:
    mesh.task(name="step")(lambda: "done")


@pytest.mark.usefixtures("step")
def test_a_month_of_sleeps_signals_and_decisions(mesh: VirtualMesh) -> None:
    begun, start = time.monotonic(), mesh.clock.now()
    run = mesh.submit(load_flow(ORDER, "order.yaml"))
    mesh.clock.advance(10 * DAY_SECONDS)
    assert_states(run, reserve="succeeded", paid="retrying", cool="waiting")
    run.signal("paid", {"amount": 9.5})
    mesh.clock.advance(14 * DAY_SECONDS + 1)
    assert_states(run, cool="succeeded", ship="waiting")
    run.approve("ok", "as agreed")

    assert run.result() == "done"
    assert_order(run, "reserve", "paid", "cool", "ok", "ship")
    assert (mesh.clock.now() - start) / DAY_SECONDS == pytest.approx(24, abs=0.001)
    assert time.monotonic() - begun < 30


SLOW_CHILD = """
flow: slow
nodes:
  nap: {sleep: 2h}
  first: {task: step}
  all: {flow: {nodes: {rest: {sleep: 5h}, work: {task: step, needs: [rest]}}}, needs: [first]}
"""


@pytest.mark.usefixtures("step")
def test_what_waits_has_taken_all_that_it_waited_for(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow(SLOW_CHILD, "slow.yaml"))
    run.result()
    hours = {node.name: (seconds_of(node) or 0.0) / 3600 for node in run.details().nodes}
    assert hours == {
        "nap": pytest.approx(2, abs=0.01),
        "first": pytest.approx(0, abs=0.01),
        "all": pytest.approx(5, abs=0.01),
    }


@pytest.mark.usefixtures("step")
def test_a_signal_that_never_comes(mesh: VirtualMesh) -> None:
    start = mesh.clock.now()
    run = mesh.submit(load_flow(ORDER, "order.yaml"))

    with pytest.raises(RunFailedError, match="SignalTimeout"):
        run.result()
    assert (mesh.clock.now() - start) / DAY_SECONDS == pytest.approx(30, abs=0.001)


def test_who_waits_for_a_signal_without_end_is_told_so(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow("flow: endless\nnodes: {paid: {wait: signal}}", "endless.yaml"))

    with pytest.raises(StandstillError, match=r"paid is .*signal"):
        run.result()
    run.signal("paid", 7)
    assert run.result() == 7


def test_children_and_loops(mesh: VirtualMesh) -> None:
    @mesh.task(name="page")
    def page(number: int) -> dict[str, int]:
        return {"left": 3 - number}

    @mesh.flow
    def pages() -> object:
        return mesh.repeat(page, {}, until="output.left == 0", max_iterations=5, count_as="number").named("loop")

    @mesh.flow
    def outer() -> object:
        return pages().named("inner")

    mesh.stub(page, takes=3600)
    start = mesh.clock.now()
    run = mesh.submit(outer)

    assert run.result() == {"left": 0}
    assert [call.arguments for call in mesh.calls(page)] == [{"number": number} for number in (1, 2, 3)]
    assert mesh.clock.now() - start == pytest.approx(3 * 3600, abs=5)
    assert_attempts(run, inner=1)


@pytest.mark.usefixtures("step")
def test_a_child_that_sleeps_for_a_month(mesh: VirtualMesh) -> None:
    flow = "flow: outer\nnodes: {inner: {flow: {nodes: {nap: {sleep: 30d}, end: {task: step, needs: [nap]}}}}}"
    start = mesh.clock.now()
    run = mesh.submit(load_flow(flow, "outer.yaml"))

    assert run.result() == "done"
    assert (mesh.clock.now() - start) / DAY_SECONDS == pytest.approx(30, abs=0.001)


def test_a_child_that_waits_without_end_is_told_with_its_parent(mesh: VirtualMesh) -> None:
    flow = "flow: outer\nnodes: {inner: {flow: {nodes: {paid: {wait: signal}}}}}"
    run = mesh.submit(load_flow(flow, "outer.yaml"))

    with pytest.raises(StandstillError, match=r"(?s)paid is .*waits for a signal.*inner is .*waits for the end of run"):
        run.result()


@pytest.mark.parametrize(("least", "status"), [("1", "failed"), ("1.0", "succeeded")])
@pytest.mark.usefixtures("step")
def test_an_empty_list_has_no_item_that_could_succeed(mesh: VirtualMesh, least: str, status: str) -> None:
    """A part of no items is none."""
    flow = f"flow: f\nnodes: {{each: {{map: [], task: step, on_item_failure: continue, min_success: {least}}}}}"
    run = mesh.submit(load_flow(flow, "f.yaml"))

    assert run.wait() == status
    if status == "failed":
        with pytest.raises(RunFailedError, match="the list of the map is empty, and 1 of its items must succeed"):
            run.result()


UNDOABLE = """
flow: f
on_failure: compensate
nodes:
  first: {{task: step, compensate: undo}}
  inner: {{{what}, needs: [first]}}
  last: {{task: fails, needs: [inner]}}
"""
NOTHING = "map: [], task: step, compensate: undo"
NAP = "flow: {nodes: {nap: {sleep: 1h}, own: {task: step, compensate: undo}}}"


@pytest.mark.parametrize(
    ("what", "marked_at"), [(NOTHING, None), (NAP, 1), (NAP, 61)], ids=["a map over nothing", "marked", "marked late"]
)
@pytest.mark.usefixtures("step")
def test_what_has_succeeded_without_a_child_has_nothing_to_undo(
    mesh: VirtualMesh, what: str, marked_at: int | None
) -> None:
    """It is not mistaken for a child that the store has lost, which would leave what was before it as it is."""
    mesh.task(name="undo")(lambda: None)
    mesh.task(name="fails")(lambda: 1 / 0)
    mesh.stub("step", node="first", takes=60)
    run = mesh.submit(load_flow(UNDOABLE.format(what=what), "f.yaml", mesh.registry))
    if marked_at is not None:
        mesh.clock.advance(marked_at)
        run.mark("inner", [])

    assert run.wait() == "compensated"
    assert [(call.run_id, call.node) for call in mesh.calls("undo")][-1] == (run.id, "undo:first")
