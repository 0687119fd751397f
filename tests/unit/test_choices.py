"""Rules, expressions, conditions and switches in flows: both faces, what is refused, and what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import Mesh
from taskmesh.errors import FlowError, UsageError
from taskmesh.flows.dumping import dump_flow
from taskmesh.flows.files import load_flow
from taskmesh.model.flow import Flow, Node
from taskmesh.wire.codec import unpack
from taskmesh.wire.flows import CHOICE_SCHEMA, PLAIN_SCHEMA, decode_flow, encode_flow

YAML = """
flow: order
params: {amount: number, kind: {type: string, default: a}}
result: ${nodes.route.output}
nodes:
  a: {task: t}
  b: {task: t}
  two: {task: t, needs: [a, b], rule: n_of(1)}
  mend: {task: t, depends: "a.failed || b.succeeded"}
  large: {task: t, when: "params.amount > 3.0 && nodes.b.state == 'failed'"}
  f: {task: t}
  g: {task: t}
  h: {task: t}
  route:
    switch:
      - {when: "params.amount > 1000.0", then: f}
      - {when: "nodes.a.output.risk == 'high'", then: [g, h]}
      - {else: []}
  join: {task: t, needs: [f, g, h], rule: none_failed_min_one_success}
"""


def _python_flow() -> Flow:
    mesh = Mesh()

    @mesh.task(name="t")
    def task() -> None: ...

    @mesh.flow
    def order(amount: float, kind: str = "a") -> Any:
        a, b = task().named("a"), task().named("b")
        task().named("two").after(a, b).rule("n_of(1)")
        task().named("mend").depends("a.failed || b.succeeded")
        task().named("large").when("params.amount > 3.0 && nodes.b.state == 'failed'")
        f, g, h = task().named("f"), task().named("g"), task().named("h")
        route = mesh.switch({"params.amount > 1000.0": f, "nodes.a.output.risk == 'high'": [g, h]}, otherwise=[]).named(
            "route"
        )
        task().named("join").after(f, g, h).rule("none_failed_min_one_success")
        return route

    return order.compile()


def test_both_faces_compile_to_the_same_flow() -> None:
    assert load_flow(YAML, "f.yaml") == _python_flow()


def test_a_flow_is_stored_and_written_down_whole() -> None:
    flow = load_flow(YAML, "f.yaml")
    assert decode_flow(encode_flow(flow)) == flow
    assert load_flow(dump_flow(flow), "f.yaml") == flow
    assert unpack(encode_flow(flow))[0] == CHOICE_SCHEMA
    assert unpack(encode_flow(Flow("f", "1", (Node("a", "t"),))))[0] == PLAIN_SCHEMA


def test_what_a_node_reads_and_is_led_to_by_it_needs() -> None:
    needs = {node.name: node.needs for node in load_flow(YAML, "f.yaml").nodes}
    assert (needs["mend"], needs["large"], needs["route"], needs["f"]) == (("a", "b"), ("b",), ("a",), ("route",))


def test_a_switch_stands_in_the_pool_of_the_first_node_that_it_leads_to() -> None:
    nodes = "route: {switch: [{when: 'true', then: b}, {else: c}]}, b: {task: t, pool: io}, c: {task: t, pool: gpu}"
    flow = load_flow(f"flow: f\nnodes: {{{nodes}}}\n", "f.yaml")
    assert {node.name: node.pool for node in flow.nodes}["route"] == "io"


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ("a: {task: t, rule: any_failed}", "node 'a': rule any_failed is over nodes that it needs, and it"),
        ("a: {task: t, rule: anyfailed}", "node 'a': rule must be one of "),
        ("b: {task: t, needs: [a], rule: n_of(2)}, a: {task: t}", "node 'b': rule n_of(2) must ask for 1 to 1"),
        ("b: {task: t, depends: aa.failed}, a: {task: t}", "node 'b': it depends on 'aa', which is no node"),
        ("b: {task: t, depends: a.gone}, a: {task: t}", "node 'b': depends asks for a.gone; a node can be"),
        (
            "b: {task: t, depends: a, needs: [c]}, a: {task: t}, c: {task: t}",
            "node 'b': depends does not say how 'c' must have ended, which it needs too",
        ),
        ("b: {task: t, depends: c}, c: {task: t, depends: '!b.done'}", "node 'b': the nodes need each other in a"),
        ("b: {task: t, depends: a, rule: always}, a: {task: t}", "node 'b': 'rule' and 'depends' say the same"),
        ("a: {task: t, when: params.amnt > 1}", "node 'a': it refers to params.amnt, which the flow does not"),
        ("b: {task: t, when: nodes.aa.output}, a: {task: t}", "node 'b': it refers to 'aa', which is no node"),
        ("a: {task: t, when: 'params.kind > 1'}", "node 'a': its condition can never be evaluated"),
        ("a: {task: t, when: 'params.kind'}", "node 'a': its condition is no condition: it gives"),
        ("a: {switch: x}", "node 'a': switch must be a list of cases, not 'x' (string)"),
        ("a: {switch: []}", "node 'a': switch must be a list of cases, not an empty one"),
        ("a: {switch: [{then: b}]}, b: {task: t}", "node 'a': a case has 'when' and 'then', or it is the last"),
        ("a: {switch: [{else: b}, {when: 'true', then: b}]}, b: {task: t}", "node 'a': else must be the last"),
        ("a: {switch: [{else: []}]}", "node 'a': the switch leads to no node"),
        ("a: {switch: [{else: bb}]}, b: {task: t}", "node 'a': it leads to 'bb', which is no node of this flow"),
        ("a: {task: t, switch: [{else: b}]}, b: {task: t}", "node 'a': there is no key 'task' here"),
        (
            "a: {switch: [{else: b}]}, b: {task: t, needs: [c], rule: all_done}, c: {task: t}",
            "node 'b': switch 'a' leads to it, so it waits for all that it needs: it can have no rule",
        ),
        (
            "a: {switch: [{else: b}]}, c: {switch: [{else: b}]}, b: {task: t}",
            "node 'b': the switches 'a' and 'c' lead to it; only one may",
        ),
        (
            "a: {switch: [{when: 'true', then: [b, c]}, {else: b}]}, b: {task: t}, c: {task: t}",
            "node 'a': two cases that lead to different nodes are named 'b'; give one another name",
        ),
    ],
)
def test_what_is_wrong_is_told(nodes: str, problem: str) -> None:
    with pytest.raises(FlowError) as caught:
        load_flow(f"flow: f\nparams: {{amount: number, kind: string}}\nnodes: {{{nodes}}}\n", "f.yaml")
    sentences = [each.split(": ", 1)[1] for each in caught.value.problems]
    assert any(each.startswith(problem) for each in sentences), sentences


def test_what_is_wrong_has_its_place() -> None:
    nodes = "  a: {task: t}\n  b: {task: t, depends: aa.failed}\n  c: {task: t, when: nodes.b.state == 1 +}\n"
    with pytest.raises(FlowError) as caught:
        load_flow(f"flow: f\nnodes:\n{nodes}", "f.yaml")
    assert [each.split(": ", 1)[0] for each in caught.value.problems] == ["f.yaml:4:25", "f.yaml:5:22"]


def test_a_switch_is_for_flows() -> None:
    with pytest.raises(UsageError, match=r"mesh.switch\(\) is for functions with @mesh.flow"):
        Mesh().switch({})


@pytest.mark.parametrize("spoil", ["rule", "both", "conditions", "leads"])
def test_the_python_face_refuses_at_once_what_it_knows_to_be_wrong(spoil: str) -> None:
    mesh = Mesh()

    @mesh.task(name="t")
    def task() -> None: ...

    wrongs = {
        "rule": lambda: task().rule("any_success_"),
        "both": lambda: task().rule("always").depends("a"),
        "conditions": lambda: task().when("true").when("true"),
        "leads": lambda: mesh.switch({"true": "a"}),
    }

    @mesh.flow
    def flow() -> None:
        wrongs[spoil]()

    with pytest.raises(
        UsageError, match=r"did you mean 'any_success'|has a rule|a condition already|takes what calling"
    ):
        flow.compile()
