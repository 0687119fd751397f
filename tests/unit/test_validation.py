from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from taskmesh.errors import FlowError
from taskmesh.model import validation
from taskmesh.model.breakers import Guard
from taskmesh.model.flow import ALL_PARAMS, Flow, Node, Param, ParamType
from taskmesh.model.node_types import type_of_task
from taskmesh.model.params import check_params
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.problems import MAX_HINTS, Hints, Path
from taskmesh.model.validation import check, complete
from taskmesh.model.values import Values


@dataclass(frozen=True)
class Info:
    name: str
    pool: str = "default"
    parameters: tuple[tuple[str, bool], ...] = ()
    accepts_any: bool = False
    retry: RetryPolicy | None = None
    limits: TimeLimits = NO_LIMITS
    guard: Guard | None = None
    compensator: Info | None = None
    findings: tuple[tuple[Path, str], ...] = ()

    def argument_findings(self, arguments: Values) -> Iterable[tuple[Path, str]]:
        return self.findings


class Catalog:
    def __init__(self, *tasks: Info) -> None:
        self._tasks = {task.name: task for task in tasks}

    def find(self, name: str) -> Info | None:
        return self._tasks.get(name)

    def names(self) -> Iterable[str]:
        return self._tasks

    def types(self) -> Iterable[str]:
        return [type_of_task(name) for name in self._tasks if type_of_task(name)]

    @property
    def is_open(self) -> bool:
        return all(type_of_task(name) for name in self._tasks)


def flow(*nodes: Node, **fields: Any) -> Flow:
    return replace(Flow("f", "1", nodes or (Node("a", "w:x"),)), **fields)


def sentences(draft: Flow, *tasks: Info) -> list[str]:
    return [str(problem) for problem in check(draft, Catalog(*tasks) if tasks else None)]


def test_a_good_flow_has_no_problems() -> None:
    draft = flow(Node("a", "w:x"), Node("b", "w:x", {"v": "${nodes.a.output}"}, ("a",)))

    assert check(draft) == []


def test_all_problems_come_at_once() -> None:
    draft = flow(
        Node("a", "w:x", {"v": "${params.gon}"}, ("c",)),
        Node("bad name", "w:x", {"v": "${nodes.d.output} ${y}"}),
        Node("c", "w x", {}, ("a",), pool="9"),
        name="",
        version="?",
        shard_by="key",
        timeout_seconds=-1.0,
        params=(Param("gone"),),
        result="${nodes.e.output}",
    )

    assert sorted(sentences(draft)) == [
        "flow name '' must be 1-255 characters without spaces, $, { or }",
        "node 'a': it refers to params.gon, which the flow does not declare; did you mean 'gone'?",
        "node 'a': the nodes need each other in a circle: a -> c -> a (each needs the next)",
        "node 'bad name': '${y}' is not a reference; write ${params.NAME} or ${nodes.NAME.output}, "
        "and $${ where ${ is meant literally",
        "node 'bad name': it refers to 'd', which is no node of this flow",
        "node 'bad name': the name is not allowed: a name begins with a letter or _, goes on with letters, digits, "
        "_ or -, and has at most 128 characters",
        "node 'c': the pool name '9' must be 1-64 letters, digits, _ or -, no digit first",
        "node 'c': the task name 'w x' must be 1-255 characters without spaces, $, { or }",
        "result refers to 'e', which is no node of this flow",
        "shard_by 'key' must be run, node or params.NAME",
        "timeout must be more than 0 and at most 31622400 seconds (366 days), not -1",
        "version '?' must be 1-64 letters, digits or any of . _ + -",
    ]


def test_a_flow_without_nodes_is_refused() -> None:
    assert sentences(Flow("f", "1", ())) == ["the flow has no nodes; it needs at least one"]


def test_names_may_stand_only_once() -> None:
    draft = flow(Node("a", "w:x"), Node("b", "w:x", {}, ("a",)), Node("a", "w:x", {}, ("b",)), params=(Param("p"),) * 2)

    assert "node 'a': 2 nodes have this name; give each its own" in sentences(draft)
    assert "2 parameters are named 'p'" in sentences(draft)


def test_a_node_that_needs_itself_is_a_circle() -> None:
    assert "a -> a" in sentences(flow(Node("a", "w:x", {"v": "${nodes.a.output}"})))[0]


def test_too_many_nodes_are_refused_before_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_NODES", 2)

    assert sentences(flow(*(Node(name, "?" * 300) for name in "abc"))) == [
        "3 nodes; a flow may have 2: split it into several"
    ]


def test_shard_by_a_param_that_must_exist() -> None:
    assert sentences(flow(shard_by="params.p", params=(Param("p"),))) == []
    assert sentences(flow(shard_by="params.q", params=(Param("p"),))) == [
        "shard_by refers to params.q, which the flow does not declare"
    ]


def test_defaults_must_fit() -> None:
    params = (Param("a", ParamType.INTEGER, False, True), Param("b", ParamType.STRING, False), Param("c", default=1))

    assert sentences(flow(params=params)) == [
        "the default of parameter 'a' must be an integer, not True (boolean)",
        "parameter 'c' is required, so its default would never be used",
    ]


def test_tasks_must_be_known_and_take_the_arguments() -> None:
    reserve = Info("w:reserve", parameters=(("order", True), ("note", False)))
    anything = Info("w:any", parameters=(("first", True),), accepts_any=True)
    draft = flow(
        Node("a", "w:reserv"),
        Node("b", "w:reserve", {"ordr": 1}),
        Node("c", "w:any", {"first": 1, "other": 2}),
        Node("d", "w:reserve", {"order": 1}),
    )

    assert sentences(draft, reserve, anything) == [
        "node 'a': task 'w:reserv' is not registered; did you mean 'w:reserve'?",
        "node 'b': task 'w:reserve' takes no argument 'ordr'; did you mean 'order'?",
        "node 'b': task 'w:reserve' also needs the argument 'order'",
    ]


def test_all_params_must_fit_the_task_where_the_flow_declares_them() -> None:
    reserve = Info("w:reserve", parameters=(("order", True),))
    whole = Node("a", "w:reserve", ALL_PARAMS)

    assert sentences(flow(whole), reserve) == []
    assert sentences(flow(whole, params=(Param("order"),)), reserve) == []
    assert len(sentences(flow(whole, params=(Param("other"),)), reserve)) == 2
    assert sentences(flow(Node("a", "w:reserve", "${params.order}")), reserve)[0] == (
        "node 'a': args must map names to values, or be ${params}"
    )


def test_completing_fills_in_needs_pools_and_order() -> None:
    draft = flow(
        Node("b", "w:x", {"v": ["${nodes.c.output}", "${nodes.a.output.k}"]}, ("a",), pool=""),
        Node("a", "w:x", pool=""),
        Node("c", "w:y", pool=""),
    )

    completed = complete(draft, Catalog(Info("w:x", accepts_any=True), Info("w:y", pool="io")))

    assert [(node.name, node.needs, node.pool) for node in completed.nodes] == [
        ("a", (), "default"),
        ("c", (), "io"),
        ("b", ("a", "c"), "default"),
    ]
    assert complete(completed) == completed


def test_completing_a_bad_draft_raises_every_problem() -> None:
    with pytest.raises(FlowError) as caught:
        complete(flow(Node("a", "w:x", {}, ("b", "c"))))

    assert caught.value.problems == (
        "flow 'f': node 'a': it needs 'b', which is no node of this flow",
        "flow 'f': node 'a': it needs 'c', which is no node of this flow",
    )


def test_hints_among_very_many_names_are_found_and_limited_in_number() -> None:
    hints = Hints(f"step{number:06}_load" for number in range(100_000))

    assert hints.did_you_mean("step076543_laod") == "; did you mean 'step076543_load'?"
    few = Hints(["abc"])
    found = [few.did_you_mean(f"abc{number}") for number in range(MAX_HINTS + 1)]
    assert all(found[:MAX_HINTS])
    assert found[MAX_HINTS] == ""
    assert few.did_you_mean("abc1") == "; did you mean 'abc'?"


ORDER = flow(
    params=(
        Param("id", ParamType.STRING),
        Param("amount", ParamType.NUMBER, False, 1.5),
        Param("count", ParamType.INTEGER, False, 1),
        Param("note", ParamType.STRING, False),
    )
)


def test_defaults_fill_what_was_not_given_in_the_order_of_the_flow() -> None:
    accepted = check_params(ORDER, {"count": 2, "id": "x"})

    assert list(accepted.items()) == [("id", "x"), ("amount", 1.5), ("count", 2), ("note", None)]


def test_a_number_may_be_whole_and_an_optional_param_may_be_null() -> None:
    assert check_params(ORDER, {"id": "x", "amount": 2, "note": None})["amount"] == 2


def test_every_wrong_param_is_named() -> None:
    with pytest.raises(FlowError) as caught:
        check_params(ORDER, {"ammount": 1, "amount": "9", "count": True})

    assert caught.value.problems == (
        "flow 'f': it has no parameter 'ammount'; did you mean 'amount'?",
        "flow 'f': parameter 'id' (string) is missing",
        "flow 'f': parameter 'amount' must be a number, not '9' (string)",
        "flow 'f': parameter 'count' must be an integer, not True (boolean)",
    )


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (ParamType.STRING, "", 1),
        (ParamType.INTEGER, 1, 1.0),
        (ParamType.NUMBER, 1.5, False),
        (ParamType.BOOLEAN, False, 0),
        (ParamType.ARRAY, [], {}),
        (ParamType.OBJECT, {}, []),
    ],
)
def test_types_are_held_to(kind: ParamType, good: object, bad: object) -> None:
    typed = flow(params=(Param("p", kind),))

    assert check_params(typed, {"p": good}) == {"p": good}
    for value in (bad, None):
        with pytest.raises(FlowError, match=r"must be an? "):
            check_params(typed, {"p": value})


def test_a_value_in_a_message_is_short() -> None:
    with pytest.raises(FlowError) as caught:
        check_params(flow(params=(Param("p", ParamType.INTEGER),)), {"p": ["x" * 1000] * 1000})

    assert len(str(caught.value)) < 300


def test_only_a_flow_that_hands_all_params_on_takes_undeclared_ones() -> None:
    assert check_params(flow(Node("a", "w:x", ALL_PARAMS)), {"any": 1}) == {"any": 1}
    with pytest.raises(FlowError, match="has no parameter 'any'"):
        check_params(flow(), {"any": 1})
    with pytest.raises(FlowError, match="has no parameter 'any'"):
        check_params(flow(Node("a", "w:x", ALL_PARAMS), params=(Param("p", required=False),)), {"any": 1})
