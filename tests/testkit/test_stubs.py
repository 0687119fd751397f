"""What stands in for tasks, and what is known of their calls."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import Retry, RunFailedError, UnknownTaskError, UsageError, current_task, load_flow
from taskmesh.testing import MeshFactory, VirtualMesh, assert_attempts


@pytest.fixture
def mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    """With one task, ``charge``, that says what it really did."""
    mesh = mesh_factory()

    @mesh.task(name="shop:charge", retry=Retry(max_attempts=4, wait="fixed", base_seconds=5))
    def charge(order_id: str, amount: float = 1.0) -> str:
        return f"really charged {amount} for {order_id}"

    return mesh


def charge(mesh: VirtualMesh, **arguments: object) -> object:
    return mesh.registry.require("shop:charge").send(order_id="o-1", **arguments).result()


def test_a_stub_answers_for_its_block(mesh: VirtualMesh) -> None:
    with mesh.stub("charge", returns="stubbed") as stub:
        assert charge(mesh) == "stubbed"
    assert charge(mesh) == "really charged 1.0 for o-1"

    assert [call.is_stubbed for call in mesh.calls("shop:charge")] == [True, False]
    assert [call.output for call in stub.calls] == ["stubbed"]


def test_a_stub_may_give_nothing(mesh: VirtualMesh) -> None:
    mesh.stub("charge", returns=None)
    assert charge(mesh) is None


def test_a_stub_that_always_raises(mesh: VirtualMesh) -> None:
    mesh.stub("charge", raises=ConnectionError("no bank"))

    with pytest.raises(RunFailedError, match="no bank"):
        charge(mesh)
    assert [str(call.error) for call in mesh.calls("charge")] == ["no bank"] * 4


def test_a_task_fails_some_times_and_then_succeeds(mesh: VirtualMesh) -> None:
    mesh.stub("charge", raises=ConnectionError, times=2)
    assert charge(mesh) == "really charged 1.0 for o-1"
    mesh.stub("charge", raises=[ConnectionError("one"), OSError("two")], returns="stubbed")
    assert charge(mesh) == "stubbed"

    kinds = [type(call.error).__name__ for call in mesh.calls("charge")]
    assert kinds == ["ConnectionError", "ConnectionError", "NoneType", "ConnectionError", "OSError", "NoneType"]


def test_a_side_effect_gets_the_arguments(mesh: VirtualMesh) -> None:
    mesh.stub("charge", side_effect=lambda order_id, amount=0.0: f"{order_id}: {amount}")
    assert charge(mesh, amount=2.5) == "o-1: 2.5"


def test_the_newest_stub_answers_until_its_times_are_over(mesh: VirtualMesh) -> None:
    mesh.stub("charge", returns="always")
    mesh.stub("charge", returns="once", times=1)
    assert [charge(mesh) for _ in range(3)] == ["once", "always", "always"]


def test_a_stub_of_one_node_leaves_others_alone(mesh: VirtualMesh) -> None:
    mesh.stub("charge", node="second", returns="stubbed")
    flow_file = """
flow: two
nodes:
  first: {task: "shop:charge", args: {order_id: a}}
  second: {task: "shop:charge", args: {order_id: b}}
result: ["${nodes.first.output}", "${nodes.second.output}"]
"""

    assert mesh.submit(load_flow(flow_file, "two.yaml")).result() == ["really charged 1.0 for a", "stubbed"]


def test_a_call_is_told_whole(mesh: VirtualMesh) -> None:
    @mesh.task(name="who", retry=Retry(max_attempts=2, wait="fixed", base_seconds=60))
    def who(value: int) -> str:
        return current_task().idempotency_key

    start = mesh.clock.now()
    mesh.stub(who, raises=[OSError("first")])
    run = who.send(7)
    key = run.result()
    first, second = mesh.calls(who)

    assert (first.task, first.run_id, first.node, first.attempt) == ("who", run.id, "task", 1)
    assert (first.arguments, first.output, str(first.error)) == ({"value": 7}, None, "first")
    assert (second.attempt, second.output, second.error) == (2, key, None)
    assert second.at - start == pytest.approx(60, abs=0.1)
    assert_attempts(run, task=2)


def test_async_tasks_are_stubbed_by_plain_and_by_async_functions(mesh: VirtualMesh) -> None:
    @mesh.task(name="fetch")
    async def fetch(url: str) -> str:
        return f"really {url}"

    async def later(url: str) -> str:
        return f"later {url}"

    with mesh.stub(fetch, side_effect=later):
        assert fetch.send("a").result() == "later a"
    with mesh.stub(fetch, returns="at once"):
        assert fetch.send("a").result() == "at once"
    assert fetch.send("a").result() == "really a"


def test_a_stub_takes_no_other_arguments_than_its_task(mesh: VirtualMesh) -> None:
    mesh.stub("charge", returns="stubbed")
    flow_file = "flow: wrong\nnodes: {pay: {task: 'shop:charge', args: {amount: 3}}}"

    with pytest.raises(RunFailedError, match="order_id"):
        mesh.submit(load_flow(flow_file, "wrong.yaml")).result()


@pytest.mark.parametrize("name", ["chrage", "shop:chrage"])
def test_a_name_that_no_task_has(mesh: VirtualMesh, name: str) -> None:
    with pytest.raises(UnknownTaskError, match="did you mean"):
        mesh.stub(name, returns=1)


def test_a_function_name_that_two_tasks_have(mesh: VirtualMesh) -> None:
    @mesh.task(name="bank:charge")
    def other() -> None: ...

    with pytest.raises(UnknownTaskError, match="any of bank:charge, shop:charge"):
        mesh.calls("charge")


@pytest.mark.parametrize(
    "wish",
    [
        {"returns": 1, "side_effect": print},
        {"returns": 1, "raises": OSError()},
        {"side_effect": print, "raises": OSError},
        {"times": 0},
        {"takes": -1},
    ],
)
def test_a_stub_that_contradicts_itself(mesh: VirtualMesh, wish: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a stub"):
        mesh.stub("charge", **wish)


TYPED_FLOW = """
flow: typed
nodes:
  ask: {type: http, with: {url: "https://api.example.com/"}, retry: {max_attempts: 2, base: 1s}}
  judge: {type: python, with: {source: "def main(body): return body + 1", inputs: {body: "${nodes.ask.output.body}"}}}
"""


def test_nodes_of_a_type_are_stubbed_by_the_task_that_stands_for_it(mesh: VirtualMesh) -> None:
    flow = load_flow(TYPED_FLOW, "typed.yaml", mesh.registry)
    mesh.stub("@python", returns=2)

    with mesh.stub("@http", returns={"body": 1}):
        assert mesh.submit(flow).result() == 2
    assert [call.arguments for call in mesh.calls("@python")] == [
        {"source": "def main(body): return body + 1", "inputs": {"body": 1}}
    ]


def test_nodes_of_a_type_are_held_to_the_settings_in_a_test_too(mesh: VirtualMesh) -> None:
    with pytest.raises(RunFailedError, match="may not be asked"):
        mesh.submit(load_flow(TYPED_FLOW, "typed.yaml", mesh.registry)).result()
