"""Nodes that wait for events, on the time of a virtual mesh: before, while and after; once; and what else ends one."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import EventError, Run, RunCancelledError, RunFailedError, load_flow
from taskmesh.testing import StandstillError, VirtualMesh, assert_states

DAY_SECONDS = 86_400

ORDER = """
flow: order
params: {order_id: string}
nodes:
  request: {task: request, args: {order_id: "${params.order_id}"}}
  paid:
    wait: event
    event: payment.received
    match: {order.id: "${nodes.request.output}"}
    filter: event.data.amount > 0
    timeout: 2d
  ship: {task: ship, args: {amount: "${nodes.paid.output.amount}"}}
"""


@pytest.fixture(autouse=True)
def tasks(mesh: VirtualMesh) -> None:
    mesh.task(name="request")(lambda order_id: order_id)
    mesh.task(name="ship")(lambda amount: f"shipped for {amount}")


def begin(mesh: VirtualMesh, order_id: str = "o-1", text: str = ORDER) -> Run:
    run = mesh.submit(load_flow(text, "order.yaml"), order_id=order_id)
    mesh.settle()
    return run


def pay(mesh: VirtualMesh, order_id: str = "o-1", amount: Any = 5, **options: Any) -> None:
    mesh.publish_event("payment.received", {"order": {"id": order_id}, "amount": amount}, **options)


def test_an_event_ends_the_wait_of_the_node_that_it_is_for(mesh: VirtualMesh) -> None:
    run, other = begin(mesh), begin(mesh, "o-2")
    pay(mesh, amount=0)
    pay(mesh, "o-3")
    mesh.publish_event("payment.refused", {"order": {"id": "o-1"}, "amount": 5})
    mesh.settle()
    assert_states(run, paid="retrying")
    pay(mesh, id="p-1", source="bank")
    assert run.result() == "shipped for 5"
    [paid] = [node for node in run.details().nodes if node.name == "paid"]
    assert paid.output == {"order": {"id": "o-1"}, "amount": 5}
    assert paid.signal is not None
    assert (paid.signal.by, paid.signal.id) == ("event payment.received of bank", "bank/p-1")
    assert_states(other, paid="retrying")


def test_a_reply_that_is_faster_than_the_claim_of_its_node_is_not_lost(mesh: VirtualMesh) -> None:
    def request(order_id: str) -> str:
        pay(mesh, order_id, amount=7)
        return order_id

    with mesh.stub("request", side_effect=request):
        run = mesh.submit(load_flow(ORDER, "order.yaml"), order_id="o-1")
        assert run.result() == "shipped for 7"


def test_an_event_is_kept_for_so_long_as_the_flow_says(mesh: VirtualMesh) -> None:
    hour = ORDER.replace("timeout: 2d", "timeout: 2d, keep: 1h".replace(", ", "\n    "))
    begin(mesh, "o-0", hour)
    for order_id in ("o-1", "o-2", "o-3"):
        pay(mesh, order_id)
    mesh.clock.advance(1800)
    assert begin(mesh, "o-1", hour).result() == "shipped for 5"
    short = begin(mesh, "o-2")
    mesh.settle()
    assert_states(short, paid="retrying")
    mesh.clock.advance(1801)
    late = begin(mesh, "o-3", hour)
    assert_states(late, paid="retrying")


def test_one_that_keeps_none_hears_what_comes_while_it_waits(mesh: VirtualMesh) -> None:
    text = ORDER.replace("timeout: 2d", "keep: 0")
    begin(mesh, "o-0", text)
    pay(mesh)
    run = begin(mesh, "o-1", text)
    assert_states(run, paid="retrying")
    pay(mesh)
    assert run.result() == "shipped for 5"


@pytest.mark.parametrize(("default", "ends"), [("", "failed"), ("default: {amount: 0}", "succeeded")])
def test_a_wait_whose_time_is_over(mesh: VirtualMesh, default: str, ends: str) -> None:
    start = mesh.clock.now()
    run = begin(mesh, text=ORDER.replace("timeout: 2d", f"timeout: 2d\n    {default}"))
    assert run.wait() == ends
    assert (mesh.clock.now() - start) / DAY_SECONDS == pytest.approx(2, abs=0.001)
    if ends == "succeeded":
        assert run.result() == "shipped for 0"
        return
    with pytest.raises(RunFailedError, match=r"EventTimeout: no event 'payment.received' that matches has come"):
        run.result()


def test_an_event_that_came_in_time_counts_though_no_worker_was_there(mesh: VirtualMesh) -> None:
    text = ORDER.replace("timeout: 2d", "timeout: 60s\n    needs: [request]").replace(
        "nodes.request.output", "params.order_id"
    )
    run = begin(mesh, text=text)
    run.pause()
    mesh.settle()
    pay(mesh)
    mesh.clock.advance(120)
    run.resume()
    assert run.result() == "shipped for 5"


def test_who_waits_without_end_waits_on_for_months(mesh: VirtualMesh) -> None:
    run = begin(mesh, text=ORDER.replace("    timeout: 2d\n", ""))
    with pytest.raises(StandstillError, match=r"paid is .*waits for an event 'payment.received', without end"):
        run.result()
    mesh.clock.advance(100 * DAY_SECONDS)
    assert_states(run, paid="retrying")
    pay(mesh)
    assert run.result() == "shipped for 5"


def test_what_it_waits_for_is_explained(mesh: VirtualMesh) -> None:
    run = begin(mesh)
    [paid] = run.explain("paid").nodes
    assert paid.reasons == (
        "waits for an event 'payment.received', for 47 h 59 min more",
        "then it fails with EventTimeout",
        "it asks of the event: order.id = 'o-1', event.data.amount > 0",
        f"`taskmesh events publish payment.received --data JSON` sends it, and `taskmesh signal {run.id} paid "
        "--payload JSON` stands in for it",
    )


def test_a_signal_stands_in_for_the_event(mesh: VirtualMesh) -> None:
    run = begin(mesh)
    run.signal("paid", {"amount": 9}, by="me")
    assert run.result() == "shipped for 9"
    pay(mesh)
    assert [each.by for each in run.history() if each.kind == "signal"] == ["me"]


def test_a_payload_that_its_schema_refuses_is_told_to_who_publishes(mesh: VirtualMesh) -> None:
    schema = "payload: {type: object, required: [currency]}"
    run = begin(mesh, text=ORDER.replace("timeout: 2d", schema))
    with pytest.raises(
        EventError, match=rf"node 'paid' of run '{run.id}': the data .* 'currency' is a required property"
    ):
        pay(mesh)
    with pytest.raises(EventError, match="cannot be evaluated"):
        pay(mesh, amount="5")
    assert_states(run, paid="retrying")


def test_what_nothing_can_equal_fails_its_node_and_no_other(mesh: VirtualMesh) -> None:
    good = begin(mesh)
    with mesh.stub("request", returns=[1]):
        bad = mesh.submit(load_flow(ORDER, "order.yaml"), order_id="o-1")
        with pytest.raises(RunFailedError, match=r"what is matched with 'order.id' must be a text, a number"):
            bad.result()
    pay(mesh)
    assert good.result() == "shipped for 5"


def test_a_cancelled_wait_ends_and_hears_nothing(mesh: VirtualMesh) -> None:
    run = begin(mesh)
    run.cancel("no more")
    with pytest.raises(RunCancelledError):
        run.result()
    pay(mesh)
    assert_states(run, paid="cancelled")


def test_a_paused_run_keeps_what_comes(mesh: VirtualMesh) -> None:
    run = begin(mesh)
    run.pause()
    pay(mesh)
    mesh.settle()
    assert_states(run, paid="ready")
    run.resume()
    assert run.result() == "shipped for 5"


def test_a_run_over_its_deadline_waits_no_more(mesh: VirtualMesh) -> None:
    run = mesh.submit(load_flow(ORDER, "order.yaml"), order_id="o-1", deadline_seconds=60)
    with pytest.raises(RunFailedError, match="deadline"):
        run.result()


def test_a_node_that_waits_anew_is_not_given_the_event_that_it_had(mesh: VirtualMesh) -> None:
    run = begin(mesh)
    pay(mesh, amount=1, id="p-1")
    assert run.result() == "shipped for 1"
    run.rerun("paid")
    mesh.settle()
    assert_states(run, paid="retrying")
    pay(mesh, amount=1, id="p-1")
    mesh.settle()
    assert_states(run, paid="retrying")
    pay(mesh, amount=2, id="p-2")
    assert run.result() == "shipped for 2"
    run.rerun("paid")
    mesh.settle()
    assert_states(run, paid="retrying")
    pay(mesh, amount=3, id="p-3")
    assert run.result() == "shipped for 3"


def test_a_fork_waits_for_itself(mesh: VirtualMesh) -> None:
    run = begin(mesh)
    fork = run.fork("paid")
    mesh.settle()
    pay(mesh)
    assert (run.result(), fork.result()) == ("shipped for 5",) * 2


def test_both_faces_and_a_loop_that_takes_event_after_event(mesh: VirtualMesh) -> None:
    @mesh.flow
    def step(order_id: str, number: int) -> Any:
        return mesh.wait_event("step", "moved", match={"order": order_id, "step": number})

    @mesh.flow
    def route(order_id: str) -> Any:
        return mesh.repeat(
            step, {"order_id": order_id}, until="output.done", max_iterations=5, count_as="number"
        ).named("steps")

    run = mesh.submit(route, order_id="o-1")
    # The first event comes when the first child may not be there yet, the last one before its time.
    for number in (1, 3):
        mesh.publish_event("moved", {"order": "o-1", "step": number, "done": number == 3})
    mesh.settle()
    assert run.status() == "running"
    mesh.publish_event("moved", {"order": "o-1", "step": 2, "done": False})
    assert run.result() == {"order": "o-1", "step": 3, "done": True}


def test_any_event_of_a_type_will_do_where_the_match_is_empty(mesh: VirtualMesh) -> None:
    text = "flow: f\nnodes: {opened: {wait: event, event: market.opened, match: {}}}"
    runs = [mesh.submit(load_flow(text, "f.yaml")) for _ in range(3)]
    mesh.settle()
    mesh.publish_event("market.opened", "at nine")
    assert [run.result() for run in runs] == ["at nine"] * 3


def test_conditions_and_results_read_the_data_as_any_output(mesh: VirtualMesh) -> None:
    text = """
flow: f
nodes:
  come: {wait: event, event: come, match: {}}
  large: {task: request, args: {order_id: large}, when: "nodes.come.output.size > 5"}
  small: {task: request, args: {order_id: small}, when: "nodes.come.output.size < 5"}
result: ["${nodes.large.output}", "${nodes.small.output}", "${nodes.come.output.size}"]
"""
    run = mesh.submit(load_flow(text, "f.yaml"))
    mesh.settle()
    mesh.publish_event("come", {"size": 6})
    assert run.result() == ["large", None, 6]
