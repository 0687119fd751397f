"""Nodes that wait: what a flow may say of them, in both faces."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from taskmesh import Mesh
from taskmesh.errors import FlowError, UsageError
from taskmesh.flows import dump_flow, load_flow
from taskmesh.model.flow import Flow, Node
from taskmesh.model.payloads import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, payload_problem, schema_problem
from taskmesh.model.validation import complete
from taskmesh.model.waiting import MAX_WAIT_SECONDS, Approve, Default, Sleep, Wait, place_of_signal, slept_seconds
from taskmesh.wire.flows import decode_flow, encode_flow

AMOUNT = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}

ORDER = """\
flow: order
params: {nap: {type: number, default: 5}, who: string}
nodes:
  rest: {sleep: 2h}
  nap: {sleep: "${params.nap}", needs: [rest]}
  paid:
    wait: signal
    signal: payment
    payload: {type: object, required: [amount], properties: {amount: {type: number}}}
    timeout: 3d
    default: {amount: 0}
    needs: [nap]
  ok: {approve: "Ship it to ${params.who}?", timeout: 400d, needs: [paid]}
  ship: {task: w:ship, pool: io, args: {paid: "${nodes.paid.output}"}, needs: [ok]}
"""


def _file(node: str) -> str:
    return f"flow: f\nnodes:\n  a: {node}\n"


def _problems(node: str) -> str:
    with pytest.raises(FlowError) as caught:
        load_flow(_file(node), "f.yaml")
    return "\n".join(caught.value.problems)


def test_a_file_says_what_nodes_wait_for() -> None:
    flow = load_flow(ORDER, "f.yaml")
    steps = {node.name: node.step for node in flow.nodes}
    assert steps == {
        "rest": Sleep(7200.0),
        "nap": Sleep(),
        "paid": Wait("payment", AMOUNT, 3 * 86_400.0, Default({"amount": 0})),
        "ok": Approve(400 * 86_400.0),
        "ship": None,
    }
    args = {node.name: node.args for node in flow.nodes}
    assert (args["nap"], args["ok"]) == ({"seconds": "${params.nap}"}, {"question": "Ship it to ${params.who}?"})
    assert load_flow(dump_flow(flow), "again.yaml") == flow
    assert decode_flow(encode_flow(flow)) == flow


def test_both_faces_say_the_same() -> None:
    mesh = Mesh()

    @mesh.task(name="w:ship", pool="io")
    def ship(paid: Any) -> None: ...

    @mesh.flow(name="order", version="1")
    def order(who: str, nap: float = 5) -> None:
        rest = mesh.sleep(7200).named("rest")
        napped = mesh.sleep(nap).named("nap").after(rest)
        paid = mesh.wait_signal(
            "paid", signal="payment", payload=AMOUNT, timeout=3 * 86_400, default={"amount": 0}
        ).after(napped)
        ok = mesh.approval("ok", "Ship it?", timeout=400 * 86_400).after(paid)
        ship(paid).after(ok)

    drawn = {node.name: node for node in order.compile().nodes}
    read = {node.name: node for node in load_flow(ORDER, "f.yaml").nodes}
    for name in ("rest", "nap", "paid"):
        assert drawn[name] == read[name]
    assert drawn["ok"].step == read["ok"].step
    assert {node.pool for node in drawn.values()} == {"io"}


def test_a_wait_without_an_end_has_neither_timeout_nor_default() -> None:
    [node] = load_flow(_file("{wait: signal}"), "f.yaml").nodes
    assert node.step == Wait()
    assert load_flow(dump_flow(Flow("f", "1", (node,))), "f.yaml").nodes == (node,)
    null = load_flow(_file("{wait: signal, timeout: 5, default: null}"), "f.yaml")
    assert null.nodes[0].step == Wait(timeout_seconds=5.0, default=Default(None))
    assert load_flow(dump_flow(null), "f.yaml") == null
    assert decode_flow(encode_flow(null)) == null


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("{sleep: soon}", "sleep must be a number of seconds, or a number with ms, s, m, h or d behind it"),
        ("{sleep: 0}", "must be more than 0 and at most 3162240000 seconds (100 years)"),
        ("{sleep: 40000d}", "(100 years)"),
        ("{sleep: 5, task: w:x}", "there is no key 'task' here"),
        ("{sleep: 5, retry: {max_attempts: 2}}", "there is no key 'retry' here"),
        ("{wait: answer}", "wait must be 'signal' or 'event', not 'answer' (string)"),
        ("{wait: signal, signal: no good}", "the name of a signal must match"),
        ("{wait: signal, default: 5}", "'default' needs a 'timeout'"),
        ("{wait: signal, timeout: -1}", "timeout must be more than 0"),
        ("{wait: signal, payload: text}", "payload must be a mapping, a JSON Schema, not 'text' (string)"),
        ("{wait: signal, payload: {type: colour}}", "payload is no JSON Schema: type: 'colour' is not valid"),
        (
            "{wait: signal, timeout: 5, default: text, payload: {type: number}}",
            "the default does not keep to the schema of the payload: 'text' is not of type 'number'",
        ),
        ('{wait: signal, timeout: 5, default: "${params.x}"}', "default is given as it is written"),
        ("{approve: ''}", "approve is empty"),
        ("{approve: 5}", "approve must be a text"),
        ("{approve: What?, default: yes}", "there is no key 'default' here"),
        ('{sleep: "${params.x}"}', "it refers to params.x, which the flow does not declare"),
        ('{approve: "${nodes.x.output}?"}', "it refers to 'x', which is no node of this flow"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(node: str, said: str) -> None:
    told = _problems(node)
    assert said in told
    assert told.startswith("f.yaml:3:")


def test_a_signal_is_for_one_node() -> None:
    text = "flow: f\nnodes:\n  a: {wait: signal, signal: b}\n  b: {approve: Well?}\n  c: {wait: signal, signal: b}\n"
    with pytest.raises(FlowError) as caught:
        load_flow(text, "f.yaml")
    assert [each.split(": ", 1)[1] for each in caught.value.problems] == [
        f"node '{name}': signal 'b' would be for several nodes that wait; let one wait, and the others need it"
        for name in "abc"
    ]


def test_a_signal_is_found_by_its_name_and_by_its_nodes() -> None:
    nodes = load_flow(ORDER, "f.yaml").nodes
    places = {node.name: at for at, node in enumerate(nodes)}
    assert place_of_signal(nodes, "payment") == place_of_signal(nodes, "paid") == places["paid"]
    assert place_of_signal(nodes, "ok") == places["ok"]
    assert place_of_signal(nodes, "ship") is place_of_signal(nodes, "nothing") is None


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (Node("a", "", step=Sleep()), "a sleep has its seconds"),
        (Node("a", "", {"seconds": 5}, step=Sleep(5.0)), "a sleep has its seconds"),
        (Node("a", "", step=Approve()), "an approval must say what is to be decided"),
    ],
)
def test_a_flow_made_by_hand_is_held_to_the_same(node: Node, said: str) -> None:
    with pytest.raises(FlowError, match=said):
        complete(Flow("f", "1", (node,)))


@pytest.mark.parametrize(("value", "seconds"), [(5, 5.0), (0.5, 0.5), ("90s", 90.0), ("2h", 7200.0)])
def test_a_reference_gives_a_length_of_time(value: Any, seconds: float) -> None:
    assert slept_seconds(value) == seconds


@pytest.mark.parametrize("value", [None, "soon", True, {}, 0, -1, float("nan"), MAX_WAIT_SECONDS * 2])
def test_anything_else_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="sleep must be"):
        slept_seconds(value)


# Pools.


def _pools(text: str) -> dict[str, str]:
    return {node.name: node.pool for node in load_flow(text, "f.yaml").nodes}


def test_a_node_that_waits_is_in_the_pool_of_its_neighbours() -> None:
    assert set(_pools(ORDER).values()) == {"io"}
    last = "flow: f\nnodes:\n  a: {task: w:a, pool: gpu}\n  b: {sleep: 5, needs: [a]}\n  c: {sleep: 5, needs: [b]}\n"
    assert set(_pools(last).values()) == {"gpu"}
    assert _pools(_file("{sleep: 5}")) == {"a": "default"}
    assert _pools(_file("{sleep: 5, pool: own}")) == {"a": "own"}
    flow = load_flow("flow: f\nnodes:\n  a: {sleep: 5, pool: default}\n  b: {task: w:b, pool: io, needs: [a]}\n", "f")
    assert load_flow(dump_flow(flow), "f.yaml") == flow


def test_a_long_chain_of_waits_is_given_its_pool_at_once() -> None:
    nodes = [Node(f"n{at}", "", needs=(f"n{at - 1}",) if at else (), pool="", step=Sleep(1.0)) for at in range(20_000)]
    begun = time.process_time()
    flow = complete(Flow("f", "1", (*nodes, Node("last", "t", needs=("n19999",), pool="io"))))
    assert {node.pool for node in flow.nodes} == {"io"}
    assert time.process_time() - begun < 20


# The Python face.


def test_outside_of_a_flow_nothing_waits() -> None:
    mesh = Mesh()
    for make in (lambda: mesh.sleep(5), lambda: mesh.wait_signal("a"), lambda: mesh.approval("a", "Well?")):
        with pytest.raises(UsageError, match=r"is for functions with @mesh.flow"):
            make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda mesh, param: mesh.sleep("5s"), "sleep must be a number of seconds, not '5s'"),
        (lambda mesh, param: mesh.wait_signal("a", timeout=True), "timeout must be a number of seconds, not True"),
        (lambda mesh, param: mesh.wait_signal("a", timeout=5, default={"x": [param]}), "takes no handles"),
        (lambda mesh, param: mesh.wait_signal("a", payload={"const": param}), "takes no handles"),
        (lambda mesh, param: (mesh.sleep(1).named("a"), mesh.wait_signal("a")), "has a node 'a' already"),
    ],
)
def test_what_cannot_be_is_refused_while_the_flow_is_traced(make: Any, said: str) -> None:
    mesh = Mesh()

    @mesh.flow
    def flow(param: Any) -> None:
        make(mesh, param)

    with pytest.raises(UsageError, match=said):
        flow.compile()


# Payloads.


NESTED = {
    "$defs": {"item": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
    "type": "array",
    "items": {"$ref": "#/$defs/item", "description": "with a sibling"},
}


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        (AMOUNT, {"amount": 5}, None),
        (AMOUNT, {}, "'amount' is a required property"),
        (AMOUNT, {"amount": "5"}, "amount: '5' is not of type 'number'"),
        (NESTED, [{"id": "a"}], None),
        (NESTED, [{"id": "a"}, {"id": 5}], "1.id: 5 is not of type 'string'"),
        ({"pattern": "^o-[0-9]+$"}, "o-17", None),
        ({"pattern": "^o-[0-9]+$"}, "17", "'17' does not match '^o-[0-9]+$'"),
        ({"pattern": "^o"}, 17, None),
        ({"enum": ["a", "b"]}, "c", "'c' is not one of ['a', 'b']"),
    ],
)
def test_a_payload_is_held_to_its_schema(schema: dict[str, Any], value: Any, problem: str | None) -> None:
    assert schema_problem(schema) is None
    assert payload_problem(schema, value) == problem


TOO_LARGE = "a number in it is too large, or NaN, and a multiple of nothing"


@pytest.mark.parametrize("number", [10**400, -(10**400), math.inf, math.nan])
def test_a_number_that_nothing_divides_is_refused_and_not_reckoned_with(number: float) -> None:
    assert payload_problem({"items": {"multipleOf": 0.1}}, [1.5, number]) == TOO_LARGE
    assert payload_problem({"maximum": 5}, -math.inf) is None


def test_half_a_character_matches_nothing() -> None:
    assert "cannot be matched" in str(payload_problem({"pattern": "^o"}, "o\ud800"))


def _growing(levels: int) -> dict[str, Any]:
    """Each definition refers ten times to the next: what a check goes through is ten times as much with each."""
    definitions: dict[str, Any] = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 10} for at in range(levels)}
    return {"$defs": {**definitions, f"d{levels}": {"type": "null"}}, "$ref": "#/$defs/d0"}


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"description": "x" * MAX_SCHEMA_BYTES}, f"a schema may have {MAX_SCHEMA_BYTES}"),
        (_deep(MAX_SCHEMA_DEPTH), "is deeper than"),
        (_deep(100_000), "must be a JSON Schema in plain JSON"),
        (_growing(5), "parts, with its references in their places"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "refers to itself"),
        ({"$ref": "#"}, "a reference must be #/$defs/NAME"),
        ({"$ref": "https://example.com/schema"}, "a reference must be #/$defs/NAME"),
        ({"$ref": "file:///etc/passwd"}, "a reference must be #/$defs/NAME"),
        ({"$ref": "#/$defs/gone"}, "refers to '#/$defs/gone'"),
        ({"$id": "https://example.com/schema"}, "uses '$id', which is not supported"),
        ({"patternProperties": {"(a+)+$": {}}}, "uses 'patternProperties'"),
        ({"pattern": "(?=a)"}, "has a pattern '(?=a)' that cannot be matched"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "must be of draft 2020-12"),
        ({"type": "colour"}, "is no JSON Schema"),
        ({"const": float("nan")}, "must be a JSON Schema in plain JSON"),
        ({"const": {1, 2}}, "must be a JSON Schema in plain JSON"),
    ],
)
def test_a_schema_that_asks_for_too_much_is_refused(schema: dict[str, Any], problem: str) -> None:
    assert problem in (schema_problem(schema) or "")


def test_no_pattern_takes_for_ever() -> None:
    begun = time.process_time()
    assert payload_problem({"pattern": "^(a+)+$"}, "a" * 5_000 + "!") is not None
    assert time.process_time() - begun < 10
