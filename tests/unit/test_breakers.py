"""The rules of circuit breakers as people write them: in Python, in flow files, and on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import FlowError, Mesh, UsageError, load_flow
from taskmesh.flows.dumping import dump_flow
from taskmesh.model.breakers import BreakerRules, Guard, breaker_rules
from taskmesh.model.flow import Flow, Node
from taskmesh.resilience.backoff import ramped
from taskmesh.wire.flows import decode_flow, encode_flow

FILE = """\
flow: f
breakers:
  payments: {failure_rate: 0.5, window: 2m, min_calls: 20, reset: 1m, ramp: 5s, exclude: [CardDeclined]}
  plain:
nodes:
  charge: {task: w:charge, breaker: payments, fallback: w:later}
  other: {task: w:charge, breaker: plain}
"""
PAYMENTS = BreakerRules("payments", 5, 0.5, 120.0, 20, 60.0, 5.0, ("CardDeclined",))


def _of(text: str, mesh: Mesh | None = None) -> dict[str, Guard | None]:
    flow = load_flow(text, "f.yaml", mesh.registry if mesh else None)
    return {node.name: node.guard for node in flow.nodes}


def test_a_file_declares_breakers_and_nodes_name_them() -> None:
    assert _of(FILE) == {"charge": Guard(PAYMENTS, "w:later"), "other": Guard(BreakerRules("plain"))}


def test_a_flow_with_breakers_keeps_them_on_the_wire_and_in_a_file() -> None:
    flow = load_flow(FILE, "f.yaml")
    assert decode_flow(encode_flow(flow)) == flow
    assert load_flow(dump_flow(flow), "dumped.yaml") == flow


def test_a_flow_without_breakers_keeps_its_bytes() -> None:
    assert encode_flow(Flow("f", "1", (Node("a", "t"),)))[1] == 1


def test_a_name_that_is_declared_nowhere_has_the_defaults() -> None:
    text = "flow: f\nnodes:\n  a: {task: w:x, breaker: payments}\n"
    assert _of(text) == {"a": Guard(BreakerRules("payments"))}


def test_a_node_of_a_file_has_the_breaker_of_its_task() -> None:
    mesh = _mesh()
    text = f"flow: f\nnodes:\n  a: {{task: '{_NAME}', args: {{order: 1}}%s}}\n"
    rules = mesh.registry.breakers["payments"]
    assert _of(text % "", mesh) == {"a": Guard(rules, _LATER)}
    assert _of(text % ", breaker: payments", mesh) == {"a": Guard(rules)}
    assert _of(text % ", breaker: other", mesh) == {"a": Guard(BreakerRules("other"))}


_NAME, _LATER = "charge", "later"


def _mesh() -> Mesh:
    mesh = Mesh()
    mesh.breaker("payments", failures=3, reset_seconds=4)

    def later(order: int) -> str:
        return "later"

    def charge(order: int) -> str:
        return "paid"

    stand_in = mesh.task(name=_LATER)(later)
    mesh.task(name=_NAME, breaker="payments", fallback=stand_in)(charge)
    return mesh


def test_a_flow_in_python_has_the_breakers_of_its_tasks() -> None:
    mesh = _mesh()
    task = mesh.registry.require(_NAME)

    @mesh.flow
    def flow() -> Any:
        return task(1)

    [node] = flow.compile().nodes
    assert node.guard == Guard(BreakerRules("payments", 3, reset_seconds=4.0, ramp_seconds=4.0), _LATER)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"failures": 0}, "failures must be a whole number from 1"),
        ({"failure_rate": 1.5}, "failure_rate must be above 0 and at most 1"),
        ({"failures": 3, "failure_rate": 0.5}, "failures counts failures in a row"),
        ({"min_calls": 3}, "min_calls has a meaning only with failure_rate"),
        ({"reset_seconds": -1}, "reset_seconds must be 0 to"),
        ({"reset_seconds": 5, "ramp_seconds": 6}, "ramp_seconds must not be longer than the reset, 5 s"),
        ({"exclude": ["no name"]}, "exclude must name exceptions"),
        ({"failure": 3}, "failure is no option; did you mean 'failures'?"),
    ],
)
def test_bad_rules_are_refused_in_python(options: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match="breaker 'b': ") as caught:
        breaker_rules("b", options)
    assert sentence in str(caught.value)


def test_bad_rules_are_refused_in_a_file_all_at_once_with_their_places() -> None:
    text = """\
flow: f
breakers:
  payments: {failures: 0, min_calls: 3, reset: 1s, ramp: 2s, colour: red}
nodes:
  a: {task: w:x, breaker: paymants}
  b: {task: w:x, fallback: w:y}
"""
    with pytest.raises(FlowError) as caught:
        load_flow(text, "f.yaml")
    assert [problem.split(": ", 1)[0] for problem in caught.value.problems] == [
        "f.yaml:3:24",
        "f.yaml:3:38",
        "f.yaml:3:58",
        "f.yaml:3:62",
        "f.yaml:5:27",
        "f.yaml:6:18",
    ]
    assert "'paymants' is not declared below 'breakers'; did you mean 'payments'?" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"breaker": "payment"}, "no breaker 'payment' is declared; did you mean 'payments'?"),
        ({"fallback": 3}, "fallback must be a task"),
    ],
)
def test_a_task_names_what_is_declared(options: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        _mesh().task(**options)
    assert sentence in str(caught.value)


def test_a_fallback_needs_a_breaker_and_the_same_parameters() -> None:
    mesh = _mesh()
    other = mesh.task(name="other")(lambda amount: amount)
    with pytest.raises(UsageError, match="needs a breaker"):
        mesh.task(fallback=other)
    with pytest.raises(UsageError, match="they differ in 'amount', 'order'"):
        mesh.task(name="new", breaker="payments", fallback=other)(lambda order: order)


def test_a_breaker_is_declared_once() -> None:
    mesh = _mesh()
    mesh.breaker("payments", failures=3, reset_seconds=4)
    with pytest.raises(UsageError, match="declared twice"):
        mesh.breaker("payments", failures=4)


def test_exclusions_mean_subclasses_too() -> None:
    rules = breaker_rules("b", {"exclude": [LookupError, "CardDeclined"]})
    assert rules.excludes(("builtins.KeyError", "builtins.LookupError", "builtins.Exception"))
    assert rules.excludes(("shop.CardDeclined",))
    assert not rules.excludes(("builtins.ConnectionError", "builtins.OSError"))


def test_what_waited_comes_back_at_a_rate_that_grows_evenly() -> None:
    waits = [ramped(10.0) for _ in range(4000)]
    quarters = [sum(start <= wait < start + 2.5 for wait in waits) / len(waits) for start in (0, 2.5, 5, 7.5)]
    assert quarters == pytest.approx([1 / 16, 3 / 16, 5 / 16, 7 / 16], abs=0.05)
    assert ramped(0.0) == 0.0
