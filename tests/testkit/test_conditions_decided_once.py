"""A condition is asked when its node is taken up first, and not again while the node lives."""

from __future__ import annotations

import pytest

from taskmesh import RunFailedError, load_flow
from taskmesh.testing import VirtualMesh, assert_states

SLOW_SECONDS = 10
LATER_SECONDS = 20
"""When a node that began beside the slow one goes on."""

FLOW = """
flow: f
nodes:
  quick: {{task: step}}
  slow: {{task: step}}
  beside: {{{what}, needs: [quick, slow], rule: any_success, when: "{condition}"}}
"""
STILL_RUNS = "nodes.slow.state != 'succeeded' && nodes.slow.output == null"
HAS_ENDED = "nodes.slow.state == 'succeeded' || nodes.slow.output == 'done'"

NAP = f"nap: {{sleep: {LATER_SECONDS}}}"
GOES_ON_LATER = {
    "an attempt that fails": f"task: fails_once, retry: {{max_attempts: 2, wait: fixed, base: {LATER_SECONDS}}}",
    "a sleep": f"sleep: {LATER_SECONDS}",
    "a wait that times out": f"wait: signal, timeout: {LATER_SECONDS}, default: 1",
    "a signal": "wait: signal",
    "a decision": "approve: 'Go on?'",
    "a child run": f"flow: {{nodes: {{{NAP}}}}}",
    "a loop": f"repeat_until: iteration == 2, max_iterations: 3, flow: {{nodes: {{{NAP}}}}}",
    "a map": f"map: [1, 2], flow: {{params: {{each: any}}, nodes: {{{NAP}}}}}, args: {{each: '${{item}}'}}",
}


@pytest.fixture
def tasks(mesh: VirtualMesh) -> None:
    fails = iter([True])
    mesh.task(name="step")(lambda: "done")

    @mesh.task(name="fails_once")
    def fails_once() -> str:
        if next(fails, False):
            raise ValueError("once")
        return "done"


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize("what", GOES_ON_LATER)
def test_what_has_begun_goes_on_though_its_condition_would_be_false_by_then(mesh: VirtualMesh, what: str) -> None:
    mesh.stub("step", node="slow", takes=SLOW_SECONDS)
    flow = FLOW.format(what=GOES_ON_LATER[what], condition=STILL_RUNS)
    run = mesh.submit(load_flow(flow, "f.yaml", mesh.registry))
    mesh.clock.advance(LATER_SECONDS - 1)
    assert_states(run, slow="succeeded", beside="retrying")
    if what == "a signal":
        run.signal("beside", 1)
    if what == "a decision":
        run.approve("beside")

    assert run.wait() == "succeeded"
    assert_states(run, beside="succeeded")
    [beside] = [node for node in run.details().nodes if node.name == "beside"]
    assert [each.holds for each in beside.conditions] == [True]


@pytest.mark.usefixtures("tasks")
def test_what_was_skipped_is_told_by_what_its_condition_has_read(mesh: VirtualMesh) -> None:
    mesh.stub("step", node="slow", takes=SLOW_SECONDS)
    run = mesh.submit(load_flow(FLOW.format(what="task: step", condition=HAS_ENDED), "f.yaml", mesh.registry))

    assert run.wait() == "succeeded"
    assert_states(run, slow="succeeded", beside="skipped")
    why = f'its condition is false: {HAS_ENDED!r} is false (nodes.slow.state = "running", nodes.slow.output = null)'
    [error] = [node.error for node in run.details().nodes if node.name == "beside"]
    assert error is not None
    assert error["message"] == why
    assert [explained.reasons for explained in run.explain("beside").nodes] == [(f"was skipped: {why}",)]


@pytest.mark.usefixtures("tasks")
def test_a_run_that_is_retried_asks_anew(mesh: VirtualMesh) -> None:
    always_fails = "task: fails, retry: {max_attempts: 2, wait: fixed, base: 20}"
    mesh.stub("step", node="slow", takes=SLOW_SECONDS)

    @mesh.task(name="fails")
    def fails() -> None:
        raise ValueError("for good")

    flow = load_flow(FLOW.format(what=always_fails, condition=STILL_RUNS), "f.yaml", mesh.registry)
    run = mesh.submit(flow)
    with pytest.raises(RunFailedError, match="for good"):
        run.result()
    run.retry()

    assert run.wait() == "succeeded"
    assert_states(run, slow="succeeded", beside="skipped")


@pytest.mark.usefixtures("tasks")
def test_a_fork_asks_anew(mesh: VirtualMesh) -> None:
    mesh.stub("step", node="slow", takes=SLOW_SECONDS)
    flow = load_flow(FLOW.format(what="task: step", condition=STILL_RUNS), "f.yaml", mesh.registry)
    run = mesh.submit(flow)
    assert run.wait() == "succeeded"
    assert_states(run, beside="succeeded")
    fork = run.fork("beside")

    assert fork.wait() == "succeeded"
    assert_states(fork, slow="succeeded", beside="skipped")
