from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from taskmesh.errors import FlowError, UsageError
from taskmesh.model.flow import ALL_PARAMS, Flow, Node, OnFailure, Param, ParamType
from taskmesh.model.graph import Graph
from taskmesh.tasks.flow import FlowDefinition, make_flow, single_task_flow
from taskmesh.tasks.task import Task, TaskPolicy, make_task

if TYPE_CHECKING:
    from decimal import Decimal


def make(name: str, pool: str = "default") -> Task[..., Any]:
    def function(*, a: object = None, b: object = None, c: object = None) -> None: ...

    return make_task(function, TaskPolicy(pool), f"w:{name}")


reserve, charge, ship = make("reserve"), make("charge", "io"), make("ship")


def compiled(function: Callable[..., Any], **options: Any) -> Flow:
    return make_flow(function, **options).compile()


def node_of(flow: Flow, name: str) -> Node:
    return next(node for node in flow.nodes if node.name == name)


def test_a_flow_may_say_how_long_its_runs_may_take() -> None:
    assert compiled(lambda: reserve(a=1), name="f", timeout=60).timeout_seconds == 60
    with pytest.raises(UsageError, match="flow 'f': timeout must be more than 0"):
        compiled(lambda: reserve(a=1), name="f", timeout=0)


def test_calls_become_nodes_and_handles_become_edges() -> None:
    def order(order_id: str, customer: dict[str, str], amount: float = 9.5) -> Any:
        stock = reserve(a=order_id)
        paid = charge(a=order_id, b=amount).after(stock)
        return ship(a=[stock, {"paid": paid["receipt"][0]}], b=customer["region"])

    flow = compiled(order, version="3", on_failure="continue", shard_by="params.order_id")

    assert flow == Flow(
        name="order",
        version="3",
        params=(
            Param("order_id", ParamType.STRING),
            Param("customer", ParamType.OBJECT),
            Param("amount", ParamType.NUMBER, False, 9.5),
        ),
        on_failure=OnFailure.CONTINUE,
        shard_by="params.order_id",
        result="${nodes.ship.output}",
        nodes=(
            Node("reserve", "w:reserve", {"a": "${params.order_id}"}),
            Node("charge", "w:charge", {"a": "${params.order_id}", "b": "${params.amount}"}, ("reserve",), "io"),
            Node(
                "ship",
                "w:ship",
                {
                    "a": ["${nodes.reserve.output}", {"paid": "${nodes.charge.output.receipt.0}"}],
                    "b": "${params.customer.region}",
                },
                ("reserve", "charge"),
            ),
        ),
    )


def test_types_come_from_annotations() -> None:
    def typed(
        a: str, b: int, c: float, d: bool, e: list[int], f: dict[str, int], g: str | None, h, i: tuple[int, ...] = (1,)
    ):
        reserve()

    params = compiled(typed).params

    assert [param.type for param in params] == [
        "string", "integer", "number", "boolean", "array", "object", "any", "any", "any",
    ]  # fmt: skip
    assert params[-1] == Param("i", ParamType.ANY, False, [1])


def test_annotations_that_only_checkers_know_mean_any() -> None:
    def typed(a: Decimal) -> None:
        reserve(a=a)

    assert compiled(typed).params == (Param("a"),)


def test_repeated_calls_are_numbered_and_can_be_named() -> None:
    def flow() -> None:
        first = reserve()
        reserve()
        reserve().named("mine")
        reserve(a=first)
        first.named("start")

    assert [node.name for node in compiled(flow).nodes] == ["start", "reserve_2", "mine", "reserve_3"]
    assert node_of(compiled(flow), "reserve_3").args == {"a": "${nodes.start.output}"}


def test_a_name_can_be_given_once() -> None:
    def flow() -> None:
        reserve().named("x")
        charge().named("x")

    with pytest.raises(UsageError, match="flow 'flow' has a node 'x' already"):
        compiled(flow)


def test_names_come_from_the_task_and_become_good_ones() -> None:
    def flow() -> None:
        make_task(lambda: None, name="billing.charge@v2")()
        make_task(lambda: None, name="pkg.mod:Class.method")()

    assert [node.name for node in compiled(flow).nodes] == ["charge_v2", "method"]


def test_texts_stand_for_themselves() -> None:
    def flow(p: str) -> Any:
        reserve(a="${params.p}", b=[{"k": "$${"}], c=("x",))
        return {"text": "${nodes.a.output}", "p": p}

    graph = Graph.of(compiled(flow))

    assert graph.resolve_arguments(0, {"p": 1}, {}) == {"a": "${params.p}", "b": [{"k": "$${"}], "c": ["x"]}
    assert graph.resolve_result({"p": 1}, {}) == {"text": "${nodes.a.output}", "p": 1}


def test_a_later_change_of_an_argument_does_not_reach_the_node() -> None:
    def flow() -> None:
        items = [1]
        reserve(a=items)
        items.append(2)

    assert compiled(flow).nodes[0].args == {"a": [1]}


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (bool, "tested"),
        (list, "looped over"),
        (lambda handle: 1 in handle, "looped over"),
        (len, "counted"),
        (lambda handle: f"{handle}", "made into text"),
        (str, "made into text"),
        (int, "made into a number"),
        (lambda handle: handle == 1, "compared"),
        (lambda handle: handle > 1, "compared"),
        (lambda handle: {handle: 1}, "a key or a member of a set"),
        (lambda handle: handle + 1, "calculated with"),
        (lambda handle: 2 * handle, "calculated with"),
        (lambda handle: handle(), "called"),
        (lambda handle: handle.parcel, "has no attribute 'parcel'; for an entry of its value write [\"parcel\"]"),
        (lambda handle: handle["a.b"], "cannot be indexed with 'a.b'"),
        (lambda handle: handle[1.5], "cannot be indexed with 1.5"),
        (lambda handle: handle[1:2], "cannot be indexed with slice"),
    ],
)
@pytest.mark.parametrize("kind", ["node", "param"])
def test_a_placeholder_is_no_value(use: Callable[[Any], object], sentence: str, kind: str) -> None:
    def flow(p: str) -> None:
        use(reserve() if kind == "node" else p)

    with pytest.raises(UsageError) as caught:
        compiled(flow)

    shown = "<placeholder ${nodes.reserve.output}>" if kind == "node" else "<placeholder ${params.p}>"
    assert shown in str(caught.value)
    assert sentence in str(caught.value)


def test_tools_may_look_at_a_placeholder() -> None:
    def flow(p: str) -> None:
        assert not hasattr(p, "__array__")
        assert copy.copy(p) is not None
        reserve(a=p)

    assert compiled(flow).nodes[0].args == {"a": "${params.p}"}


def test_after_takes_nodes_only() -> None:
    def flow(p: str) -> None:
        reserve().after(p)

    with pytest.raises(
        UsageError, match=r"after\(\) takes what calling a task returned, not <placeholder \$\{params\.p\}>"
    ):
        compiled(flow)


def test_a_circle_of_afters_is_refused_with_its_path() -> None:
    def flow() -> None:
        first = reserve()
        first.after(charge().after(first))

    with pytest.raises(FlowError, match=r"flow 'flow': node 'reserve': .*: reserve -> charge -> reserve"):
        compiled(flow)


def test_a_placeholder_is_good_in_its_own_flow_only() -> None:
    kept: list[Any] = []
    compiled(lambda: kept.append(reserve()), name="first")

    with pytest.raises(UsageError, match="belongs to another flow than 'second'"):
        compiled(lambda: ship(a=[kept[0]]), name="second")
    with pytest.raises(UsageError, match="only good inside of its flow's function"):
        ship(a=kept[0])


def test_a_flow_without_tasks_is_refused() -> None:
    with pytest.raises(FlowError, match="flow 'empty': the flow has no nodes"):
        compiled(lambda: None, name="empty")


def test_wrong_arguments_are_found_while_tracing() -> None:
    with pytest.raises(UsageError, match="takes no argument 'd'"):
        compiled(lambda: reserve(d=1), name="f")


def test_nothing_is_sent_while_tracing() -> None:
    def flow() -> None:
        reserve.send()

    with pytest.raises(UsageError, match="cannot be sent inside of a flow's function"):
        compiled(flow)


async def asynchronous() -> None: ...


def variadic(*items: str) -> None: ...


def keywords(**items: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        (asynchronous, {}, "must be a plain function"),
        (variadic, {}, "*items cannot be filled"),
        (keywords, {}, "cannot take **kwargs"),
        (reserve, {"on_failure": "undo"}, "on_failure must be one of fail_fast, continue, compensate, not 'undo'"),
    ],
)
def test_what_cannot_be_a_flow_is_refused_at_once(function: Any, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_flow(function, **options)

    assert sentence in str(caught.value)


def test_a_flow_is_traced_once_and_cannot_be_called() -> None:
    calls: list[int] = []

    @make_flow
    def order() -> None:
        calls.append(1)
        reserve()

    assert order.compile() is order.compile()
    assert calls == [1]
    with pytest.raises(UsageError, match="flow 'order' can be called in the function of another flow alone"):
        order()


def test_a_failed_trace_leaves_tasks_callable() -> None:
    def flow() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compiled(flow)

    assert reserve() is None


def test_threads_trace_apart_from_each_other() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def definition(name: str) -> FlowDefinition[[]]:
        def flow() -> None:
            for _ in range(3):
                meeting.wait()
                reserve(a=name)

        return make_flow(flow, name=name)

    with ThreadPoolExecutor(2) as pool:
        flows = list(pool.map(lambda name: definition(name).compile(), ["one", "two"]))

    assert [[node.args for node in flow.nodes] for flow in flows] == [[{"a": "one"}] * 3, [{"a": "two"}] * 3]


def test_a_single_task_is_a_flow_of_one_node_that_takes_all_params() -> None:
    flow = single_task_flow("w:pay", "io")

    assert flow == Flow("w:pay", "1", (Node("task", "w:pay", ALL_PARAMS, (), "io"),))
    assert Graph.of(flow).resolve_arguments(0, {"x": "${params.y}"}, {}) == {"x": "${params.y}"}
