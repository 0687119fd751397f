"""Sub-flows and loops, as flow files and Python say them."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh import FlowError, Mesh, Retry, UsageError
from taskmesh.dispatch.plan import TO_PARENT, Plan
from taskmesh.flows import dump_flow, load_flow
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.loops import Loop
from taskmesh.model.policies import RetryPolicy, TimeLimits, Wait
from taskmesh.model.subflows import OnParentClose, Subflow, flows_in, references_of, tasks_in
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome, child_id, run_of_ticket, undo_ticket
from taskmesh.wire.flows import decode_flow, encode_flow

mesh = Mesh()


@mesh.task(name="w:take", pool="io")
def take(item: int) -> int:
    return item


@take.compensate(name="w:give_back")
def give_back(item: int, result: int) -> None: ...


@mesh.task(name="w:tell")
def tell(text: Any) -> None: ...


@mesh.flow
def inner(item: int, note: str = "") -> Any:
    return take(item)


OUTER = """
flow: outer
params: {item: integer}
nodes:
  first: {task: "w:take", args: {item: "${params.item}"}}
  inside:
    flow:
      params: {item: integer, note: {type: string, default: ""}}
      nodes:
        take: {task: "w:take", args: {item: "${params.item}"}}
    args: {item: "${nodes.first.output}"}
    retry: {max_attempts: 2, wait: fixed, base: 1s}
    timeout: 5s
  named: {flow: "other@latest", args: {x: 1}, needs: [inside], on_parent_close: abandon, when: "params.item > 1"}
  again: {repeat_until: "output > 3", max_iterations: 5, flow: other, last_as: before, count_as: number}
  tasks: {repeat_until: "iteration == 2", max_iterations: 2, task: "w:take", count_as: item}
"""


def _problems(nodes: str) -> list[str]:
    with pytest.raises(FlowError) as caught:
        load_flow(f"flow: outer\nnodes:\n{nodes}", "f.yaml", mesh.registry)
    return [problem.partition(": ")[2] for problem in caught.value.problems]


def test_a_file_says_what_nodes_begin() -> None:
    flow = load_flow(OUTER, "f.yaml", mesh.registry)
    nodes = {node.name: node for node in flow.nodes}
    inside, named, again, tasks = (nodes[name].step for name in ("inside", "named", "again", "tasks"))
    assert isinstance(inside, Subflow)
    assert inside.inline is not None
    assert (inside.inline.name, inside.inline.nodes[0].pool) == ("outer.inside", "io")
    assert nodes["inside"].retry == RetryPolicy(2, Wait.FIXED, 1.0)
    assert nodes["inside"].limits == TimeLimits(5.0)
    assert nodes["inside"].needs == ("first",)
    assert {name: node.pool for name, node in nodes.items()} == {
        **dict.fromkeys(("first", "inside", "named", "tasks"), "io"),
        "again": "default",
    }
    assert nodes["named"].compensation == Compensation("", "io")
    assert named == Subflow("other@latest", None, OnParentClose.ABANDON)
    assert again == Loop("output > 3", 5, "other", last_as="before", count_as="number")
    assert isinstance(tasks, Loop)
    assert tasks.inline is not None
    assert [(node.task, node.pool) for node in tasks.inline.nodes] == [("w:take", "io")]
    assert [nodes[name].label for name in ("inside", "named", "tasks")] == [
        "flow outer.inside",
        "flow other@latest",
        "repeat_until outer.tasks",
    ]
    assert list(references_of(flow)) == ["other@latest", "other"]
    assert tasks_in(flow) == {"w:take"}
    assert len(list(flows_in(flow))) == 3


@pytest.mark.parametrize("known", [True, False])
def test_a_flow_survives_a_file_and_the_wire(known: bool) -> None:
    flow = load_flow(OUTER, "f.yaml", mesh.registry if known else None)
    assert load_flow(dump_flow(flow), "g.yaml") == flow
    assert decode_flow(encode_flow(flow)) == flow


def test_what_undoes_a_child_is_the_child_where_it_can_be_undone() -> None:
    flow = load_flow(OUTER, "f.yaml", mesh.registry)
    undone = {node.name: node.compensation.task for node in flow.nodes if node.compensation}
    assert undone == {"first": "w:give_back", "inside": "", "named": "", "again": "", "tasks": ""}
    plan = Plan.of(flow)
    assert [plan.begins_child(plan.undo_of(at)) for at in range(5)] == [plan.begins_child(at) for at in range(5)]
    bare = load_flow(OUTER, "f.yaml")
    assert [node.name for node in bare.nodes if node.compensation] == ["named", "again"]


def test_the_place_before_the_parent_is_one_of_every_flow() -> None:
    plan = Plan.of(Flow("f", "1", (Node("a", "t", pool="io"),)))
    assert plan.knows(TO_PARENT)
    assert (plan.pool_of(TO_PARENT), [chunk.last for chunk in plan.chunks(TO_PARENT)]) == ("io", [True])
    assert plan.dependents(TO_PARENT) == ()


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ("  a: {flow: 'no name'}", "node 'a': 'no name' names no registered flow; write NAME"),
        ("  a: {flow: other, args: 5}", "args must be a mapping of names to values"),
        ("  a: {flow: other, timeout: soon}", "timeout"),
        ("  a: {flow: other, retry: {max_attempts: 0}}", "max_attempts"),
        ("  a: {flow: other, on_parent_close: cancle}", "must be one of cancel, abandon; did you mean 'cancel'?"),
        ("  a: {flow: other, compensate: w:take}", "there is no key 'compensate' here"),
        ("  a: {flow: {nodes: {}}}", "node 'a': in its flow, the flow has no nodes"),
        ("  a: {flow: {nodes: {b: {task: 'w:tkae', args: {item: 1}}}}}", "did you mean 'w:take'?"),
        ("  a: {flow: {nodes: {b: {task: 'w:take', args: {item: '${params.x}'}}}}}", "refers to params.x"),
        ("  a: {flow: {params: {x: integer}, nodes: {b: {task: 'w:tell', args: {text: 1}}}}}", "the parameter 'x'"),
        (
            "  a: {flow: {nodes: {b: {task: 'w:tell', args: {text: 1}}}}, args: {y: 1}}",
            "its flow has no parameter 'y'",
        ),
        (
            "  a: {flow: {params: {x: integer}, nodes: {b: {task: 'w:tell', args: {text: 1}}}}, args: {x: '1'}}",
            "node 'a': of its flow, parameter 'x' must be an integer, not '1' (string)",
        ),
        (
            "  a: {flow: {on_failure: compensate, nodes: {b: {task: 'w:tell', args: {text: 1}}}}}",
            "nothing says what would undo any of the nodes",
        ),
        ("  a: {flow: {nodes: {b: {task: 'w:tell', needs: [b], args: {text: 1}}}}}", "in a circle: b -> b"),
        ("  a: {repeat_until: 'output', max_iterations: 3}", "either a 'task', a 'type' or a 'flow'"),
        ("  a: {repeat_until: 'output', flow: other}", "'max_iterations' is missing: a loop must have an end"),
        ("  a: {repeat_until: 'output', flow: other, max_iterations: 0}", "max_iterations must be 1 to 1000, not 0"),
        ("  a: {repeat_until: 'output', flow: other, max_iterations: many}", "must be a whole number"),
        ("  a: {repeat_until: 'params.x', flow: other, max_iterations: 1}", "uses 'params', which means nothing here"),
        ("  a: {repeat_until: 'output >', flow: other, max_iterations: 1}", "its condition is no CEL"),
        (
            "  a: {repeat_until: 'true', flow: other, max_iterations: 1, last_as: x, count_as: x}",
            "last_as and count_as both name the parameter 'x'",
        ),
    ],
)
def test_what_is_wrong_with_a_child_is_told_with_its_place(nodes: str, problem: str) -> None:
    [found] = _problems(nodes)
    assert problem in found


def test_what_is_wrong_inside_is_told_where_it_stands() -> None:
    with pytest.raises(FlowError, match=r"f\.yaml:6:19: node 'a': in its flow, node 'b': task 'w:tkae'"):
        load_flow(
            "flow: outer\nnodes:\n  a:\n    flow:\n      nodes:\n        b: {task: 'w:tkae', args: {item: 1}}\n",
            "f.yaml",
            mesh.registry,
        )


def test_calling_a_flow_in_a_flow_is_a_node() -> None:
    @mesh.flow
    def outer(item: int) -> Any:
        got = inner(take(item), note="n")
        return mesh.subflow("other@3", {"x": got}, retry=Retry(max_attempts=2), timeout=3, on_parent_close="abandon")

    first, called, named = outer.compile().nodes
    assert (called.name, called.needs, called.args) == (
        "inner",
        ("take",),
        {"item": "${nodes.take.output}", "note": "n"},
    )
    assert called.step == Subflow(inline=inner.compile())
    assert (named.name, named.step) == ("other", Subflow("other@3", None, OnParentClose.ABANDON))
    assert (named.retry, named.limits.start_to_close) == (Retry(max_attempts=2).policy, 3)
    assert first.step is None


def test_a_loop_in_python_is_that_of_a_file() -> None:
    @mesh.flow
    def outer() -> Any:
        return mesh.repeat(take, until="iteration == 2", max_iterations=2, count_as="item").named("tasks")

    [node] = outer.compile().nodes
    [in_file] = [each for each in load_flow(OUTER, "f.yaml", mesh.registry).nodes if each.name == "tasks"]
    assert isinstance(node.step, Loop)
    assert isinstance(in_file.step, Loop)
    assert node.step.inline is not None
    assert node.step.having(in_file.step.inline or Flow("", "", ())) == in_file.step
    assert node.step.inline.nodes == in_file.step.inline.nodes if in_file.step.inline else False
    assert node.compensation == in_file.compensation


def test_a_flow_that_calls_itself_is_told_how() -> None:
    @mesh.flow
    def endless(item: int) -> Any:
        return endless(item)

    with pytest.raises(UsageError, match=r"calls itself.*mesh\.subflow\('endless', \.\.\.\), behind a condition"):
        endless.compile()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: inner(1), "can be called in the function of another flow alone"),
        (lambda: mesh.subflow("x"), "is for functions with @mesh.flow"),
        (lambda: mesh.repeat("x", until="true", max_iterations=1), "is for functions with @mesh.flow"),
    ],
)
def test_outside_of_a_flow_nothing_is_begun(call: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"timeout": -1}, "timeout of a sub-flow must be more than 0"),
        ({"on_parent_close": "cancle"}, "did you mean 'cancel'"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    def outer() -> Any:
        return mesh.subflow("other", **wrong)

    with pytest.raises(UsageError, match=sentence):
        mesh.flow(outer).compile()


def test_a_flow_is_undone_that_has_nothing_but_children() -> None:
    flow = Flow("f", "1", (Node("a", "", step=Subflow("other")),), on_failure=OnFailure.COMPENSATE)
    assert load_flow(dump_flow(flow), "f.yaml").can_compensate


def test_the_id_of_a_child_follows_from_what_no_crash_changes() -> None:
    key = NodeKey("r1", 3)
    ids = {
        child_id(key, 5.0, 0),
        child_id(key, 5.0, 1),
        child_id(key, 6.0, 0),
        child_id(key, 5.0, 0, 1),
        child_id(NodeKey("r1", 4), 5.0, 0),
        child_id(NodeKey("r2", 3), 5.0, 0),
    }
    assert len(ids) == 6
    assert child_id(key, 5, 0) == child_id(key, 5.0, 0)
    assert run_of_ticket(undo_ticket("r9", 2)) == "r9"


def test_an_outcome_survives_the_store() -> None:
    from taskmesh import RunState

    outcome = Outcome("r9#2", RunState.FAILED, b"\x00 \xff", "it said so", True)
    assert Outcome.read(outcome.packed()) == outcome
    assert outcome.packed().startswith(b"r9#2 ")
