"""Hooks in flows: both faces, what is refused, what is stored, and what their tasks are called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskmesh import Mesh
from taskmesh.cli import diagram
from taskmesh.dispatch.deferring import resolved
from taskmesh.dispatch.plan import BEFORE_HOOKS, Plan
from taskmesh.errors import FlowError, UnresolvedReferenceError, UsageError
from taskmesh.flows.dumping import dump_flow
from taskmesh.flows.files import load_flow
from taskmesh.model.flow import Flow, Node
from taskmesh.model.hooks import Hook
from taskmesh.model.policies import RetryPolicy
from taskmesh.model.run_context import RunContext
from taskmesh.model.states import NodeState
from taskmesh.model.triggers import Trigger
from taskmesh.model.validation import complete
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, pack_check
from taskmesh.wire.flows import HOOK_SCHEMA, RUN_SCHEMA, decode_flow, encode_flow
from taskmesh.wire.run_contexts import encode_context

STORED = pack_check(ClaimCheck(b"n" * 16, 2_000_000, b"d" * 32))

YAML = """
flow: order
params: {order_id: string}
on_failure: continue
hooks:
  finally: {task: tell, args: {text: "${ended.status}", of: "${ended.node}", why: "${ended.error}"}}
  on_failure: {task: tell, args: {text: "order ${params.order_id}: ${ended.error.message}"}, pool: io}
nodes:
  reserve: {task: work}
  charge:
    task: work
    needs: [reserve]
    hooks:
      finally: tell
      on_success: {task: tell, args: {text: "${nodes.reserve.output.parcel}"}, retry: {max_attempts: 3}, timeout: 5s}
"""


def _mesh() -> tuple[Mesh, Any, Any]:
    mesh = Mesh()

    @mesh.task(name="work")
    def work() -> None: ...

    @mesh.task(name="tell")
    def tell(text: object = None, of: object = None, why: object = None) -> None: ...

    return mesh, work, tell


def _python_flow() -> Flow:
    mesh, work, tell = _mesh()

    @mesh.task(name="tell2", pool="io")
    def other(text: str) -> None: ...

    @mesh.flow
    def order(order_id: str) -> None:
        mesh.finally_(tell(mesh.ended["status"], mesh.ended["node"], mesh.ended["error"]))
        stock = work().named("reserve")
        paid = work().after(stock).finally_(tell()).on_success(tell(stock["parcel"]))
        mesh.on_failure(other(mesh.ended["error"]["message"]))
        paid.named("charge")

    return order.compile()


def _names(flow: Flow) -> list[str]:
    return [node.name for node in flow.nodes]


def test_a_hook_is_a_node_that_is_named_after_what_it_observes() -> None:
    flow = load_flow(YAML, "f.yaml")
    names = ["reserve", "charge", "charge.on_success", "charge.finally", "flow:on_failure", "flow:finally"]
    assert _names(flow) == names
    hooks = {node.name: (node.hook, node.needs) for node in flow.nodes if node.hook}
    assert hooks == {
        "charge.on_success": (Hook.ON_SUCCESS, ("charge",)),
        "charge.finally": (Hook.FINALLY, ("charge",)),
        "flow:on_failure": (Hook.ON_FAILURE, ()),
        "flow:finally": (Hook.FINALLY, ()),
    }
    on_success = flow.nodes[2]
    assert (on_success.retry, on_success.limits.start_to_close) == (RetryPolicy(max_attempts=3), 5.0)


def test_both_faces_make_the_same_hooks() -> None:
    flow = _python_flow()
    assert _names(flow) == _names(load_flow(YAML, "f.yaml"))
    args = {node.name: node.args for node in flow.nodes if node.hook}
    assert args == {
        "charge.on_success": {"text": "${nodes.reserve.output.parcel}"},
        "charge.finally": {},
        "flow:on_failure": {"text": "${ended.error.message}"},
        "flow:finally": {"text": "${ended.status}", "of": "${ended.node}", "why": "${ended.error}"},
    }


def test_a_hook_may_have_a_type_in_the_place_of_a_task() -> None:
    hook = '{type: http, with: {url: "https://a.test/", json: "${ended}"}}'
    text = f"flow: f\nhooks: {{finally: {hook}}}\nnodes: {{a: {{task: t}}}}\n"
    flow = load_flow(text, "f.yaml")
    assert load_flow(dump_flow(flow), "f.yaml") == flow
    assert flow.nodes[1].args == {"url": "https://a.test/", "json": "${ended}"}


@pytest.mark.parametrize("make", [lambda: load_flow(YAML, "f.yaml"), _python_flow])
def test_a_flow_with_hooks_is_the_same_after_it_was_written(make: Callable[[], Flow]) -> None:
    flow = make()
    assert load_flow(dump_flow(flow), "f.yaml") == flow
    assert unpack(encode_flow(flow))[0] == HOOK_SCHEMA
    assert decode_flow(encode_flow(flow)) == flow


def test_the_result_of_a_flow_is_that_of_its_nodes() -> None:
    graph = Plan.of(load_flow(YAML, "f.yaml")).graph
    assert (graph.roots, graph.result_inputs) == ((0,), (1,))


HOOKED = "flow: f\nnodes:\n  a: {task: t}\n  b: {task: t, hooks: %s}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HOOKED % "{on_error: t}", "4:24: node 'b', hook on_error: there is no key 'on_error' here"),
        (HOOKED % "tell", "4:23: node 'b': hooks must be a mapping with the keys on_success, on_failure, finally"),
        (HOOKED % "{finally: {args: {}}}", "node 'b', hook finally: the key 'task' is missing"),
        (HOOKED % "{finally: {task: t, needs: [a]}}", "node 'b', hook finally: there is no key 'needs' here"),
        (
            HOOKED % '{finally: {task: t, args: {x: "${nodes.a.output}"}}}',
            "it refers to 'a', which may not have ended by then; a hook may refer to 'b' and to what that needs",
        ),
        (HOOKED % '{finally: {task: t, args: {x: "${nodes.c.output}"}}}', "refers to 'c', which is no node"),
        (HOOKED % '{finally: {task: t, args: {x: "${params.c}"}}}', "refers to params.c, which the flow does not"),
        (HOOKED % '{finally: {task: t, args: {x: "${ended.reason}"}}}', "'${ended.reason}' is not a reference; write"),
        (HOOKED % '{finally: {task: t, args: "${ended}"}}', "args must be a mapping of names to values"),
        ("flow: f\nfinally: t\nnodes: {a: {task: t}}\n", "'finally' is a hook; write it below 'hooks'"),
        ("flow: f\nnodes: {a: {task: t, on_failure: t}}\n", "'on_failure' is a hook; write it below 'hooks'"),
        ("flow: f\nnodes: {a: {task: t, args: {x: '${ended.status}'}}}\n", "'${ended.status}' is not a reference"),
        ("flow: f\nnodes: {a: {task: t, hooks: {finally: t}}, b: {task: t, needs: [a.finally]}}\n", "is no node of"),
        ("flow: f\nhooks: {finally: {task: t, pool: 1x}}\nnodes: {a: {task: t}}\n", "hook finally: the pool name '1x'"),
        ("flow: f\nhooks: {finally: t}\nnodes: {}\n", "the flow has no nodes"),
    ],
)
def test_a_bad_hook_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(FlowError) as refusal:
        load_flow(text, "f.yaml")
    assert any(problem in each for each in refusal.value.problems), refusal.value.problems


def test_the_arguments_of_a_hook_are_checked_with_its_task() -> None:
    mesh, _, _ = _mesh()

    @mesh.task(name="strict")
    def strict(text: str) -> None: ...

    flow = Flow("f", "1", (Node("a", "work"), Node("flow:finally", "strict", trigger=Trigger(hook=Hook.FINALLY))))
    with pytest.raises(FlowError, match="hook finally: task 'strict' also needs the argument 'text'"):
        complete(flow, mesh.registry)


@pytest.mark.parametrize(
    "hook",
    [
        Node("other", "t", needs=("a",), trigger=Trigger(hook=Hook.FINALLY)),
        Node("a.finally", "t", needs=("a",), trigger=Trigger(hook=Hook.FINALLY), when="true"),
        Node("a.finally", "t", needs=("a", "b"), trigger=Trigger(hook=Hook.FINALLY)),
    ],
)
def test_a_hook_has_one_name_and_nothing_but_a_task(hook: Node) -> None:
    with pytest.raises(FlowError, match="a hook runs a task and observes one node, or the flow"):
        complete(Flow("f", "1", (Node("a", "t"), Node("b", "t"), hook)))


def test_there_is_one_hook_of_each_kind() -> None:
    hook = Node("a.finally", "t", needs=("a",), trigger=Trigger(hook=Hook.FINALLY))
    with pytest.raises(FlowError, match="two hooks observe the same end of the same thing"):
        complete(Flow("f", "1", (Node("a", "t"), hook, hook)))


def _refused(describe: Callable[[Mesh, Any, Any], Any]) -> str:
    mesh, work, tell = _mesh()

    @mesh.flow
    def order() -> Any:
        describe(mesh, work, tell)

    with pytest.raises((UsageError, FlowError)) as refusal:
        order.compile()
    return str(refusal.value)


@pytest.mark.parametrize(
    ("describe", "problem"),
    [
        (lambda mesh, work, tell: work().on_failure(tell), "takes what calling a task returned"),
        (lambda mesh, work, tell: work().on_failure(tell().after(work())), "which waits for nothing else"),
        (lambda mesh, work, tell: work().on_failure(tell().when("true")), "which waits for nothing else"),
        (lambda mesh, work, tell: work().on_failure(tell()).on_failure(tell()), "has a hook on_failure already"),
        (lambda mesh, work, tell: mesh.finally_(tell().on_failure(tell())), "a hook can have no hooks"),
        (lambda mesh, work, tell: [hook := tell(), work().finally_(hook), hook.named("x")], "and no other"),
        (lambda mesh, work, tell: [hook := tell(), work().finally_(hook), tell(hook)], "nothing can use the output of"),
        (
            lambda mesh, work, tell: [hook := tell(), work().finally_(hook), work().after(hook)],
            "is no node of this flow",
        ),
        (
            lambda mesh, work, tell: [hook := tell(), work().finally_(hook), hook.finally_(tell())],
            "a hook can have no hooks",
        ),
        (lambda mesh, work, tell: tell(mesh.ended["status"]), "'${ended.status}' is not a reference"),
        (lambda mesh, work, tell: work().finally_(tell(mesh.ended["why"])), "'${ended.why}' is not a reference"),
    ],
)
def test_python_refuses_what_is_no_hook(describe: Callable[[Mesh, Any, Any], Any], problem: str) -> None:
    assert problem in _refused(describe)


def test_outside_of_a_flow_there_are_no_hooks() -> None:
    mesh, _, tell = _mesh()
    for wish in (mesh.on_success, mesh.on_failure, mesh.finally_):
        with pytest.raises(UsageError, match=r"is for functions with @mesh\.flow"):
            wish(tell)
    with pytest.raises(UsageError, match=r"mesh.ended is for functions"):
        _ = mesh.ended


def _record(state: NodeState) -> bytes:
    return pack([state, 1, 2, 0, 0, 0, "", 0, ""])


ERROR = {"type": "ValueError", "message": "for good", "traceback": "..."}


def _arguments(plan: Plan, name: str, stored: dict[str, bytes]) -> Any:
    inputs = plan.inputs(plan.graph.index[name])
    return unpack(inputs.arguments([stored.get(field) for field in inputs.fields]))


def test_a_hook_of_a_node_is_told_how_that_has_ended() -> None:
    args = {"how": "${ended.status}", "who": "${ended.node}", "why": "${ended.error.message}", "all": "${ended}"}
    hook = Node("a.finally", "t", args, ("a",), trigger=Trigger(hook=Hook.FINALLY))
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"), hook))))
    stored = {"node:0": _record(NodeState.FAILED), "error:0": pack(ERROR)}
    told = {"how": "failed", "who": "a", "why": "for good"}
    assert _arguments(plan, "a.finally", stored) == {
        **told,
        "all": {"status": "failed", "node": "a", "error": ERROR},
    }
    with pytest.raises(UnresolvedReferenceError, match=r"\$\{ended.error\} is null"):
        _arguments(plan, "a.finally", {"node:0": _record(NodeState.SUCCEEDED)})


@pytest.mark.parametrize(
    ("ended", "error", "told"),
    [
        (["failed", 0], pack(ERROR), {"status": "failed", "node": "a", "error": ERROR}),
        (["cancelled", False], b"", {"status": "cancelled", "node": None, "error": None}),
    ],
)
def test_a_hook_of_the_flow_is_told_how_the_run_ends(ended: list[Any], error: bytes, told: dict[str, Any]) -> None:
    hook = Node(
        "flow:finally", "t", {"all": "${ended}", "out": "${nodes.a.output}"}, trigger=Trigger(hook=Hook.FINALLY)
    )
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"), hook))))
    stored = {f"output:{BEFORE_HOOKS}": pack(ended), f"error:{BEFORE_HOOKS}": error, "output:0": pack(7)}
    assert _arguments(plan, "flow:finally", stored) == {"all": told, "out": 7}


def test_the_longest_chain_ends_with_a_hook_of_the_flow() -> None:
    graph = Plan.of(load_flow(YAML, "f.yaml")).graph
    seconds = {"reserve": 1.0, "charge": 2.0, "charge.finally": 1.0, "flow:finally": 3.0}
    assert graph.critical_path(seconds) == ("reserve", "charge", "charge.finally", "flow:finally")


def test_pictures_of_a_flow_mark_its_hooks() -> None:
    flow = load_flow(YAML, "f.yaml")
    text = "\n".join(diagram.text(flow))
    assert "hook: on_success of charge" in text
    assert "hook: on_failure of the flow" in text
    mermaid = "\n".join(diagram.mermaid(flow))
    assert 'n2(["charge.on_success"])' in mermaid
    assert "n1 -. on_success .-> n2" in mermaid
    assert '"charge" -> "charge.finally" [style=dotted];' in "\n".join(diagram.dot(flow))
    assert diagram.document(flow)["nodes"]["charge.finally"]["hook"] == "finally"


@pytest.mark.parametrize("hook", ["a.finally", "flow:finally"])
def test_a_hook_reads_what_is_said_of_the_request(hook: str) -> None:
    args = '{text: "${run.metadata.plan}", of: "${ended.status} of ${run.tenant}", why: "${run.request_id}"}'
    of_flow, of_node = (args, "{}") if hook == "flow:finally" else ("{}", args)
    finally_ = "{finally: {task: tell, args: %s}}"
    text = f"flow: f\nhooks: {finally_ % of_flow}\nnodes:\n  a: {{task: t, hooks: {finally_ % of_node}}}\n"
    flow = load_flow(text, "f.yaml")
    assert decode_flow(encode_flow(flow)) == flow
    stored = {"node:0": _record(NodeState.SUCCEEDED), f"output:{BEFORE_HOOKS}": pack(["succeeded", False])}
    said = encode_context(RunContext(tenant="acme", metadata={"plan": "gold"}))
    expected = {"text": "gold", "of": "succeeded of acme", "why": None}
    assert _arguments(Plan.of(flow), hook, {**stored, "context": said}) == expected
    assert _arguments(Plan.of(flow), hook, stored) == {"text": None, "of": "succeeded of null", "why": None}


def test_an_older_version_refuses_a_hook_that_reads_what_is_said_of_the_request() -> None:
    text = "flow: f\nhooks: {finally: {task: tell, args: {text: '${run.tenant}'}}}\nnodes: {a: {task: t}}\n"
    assert unpack(encode_flow(load_flow(text, "f.yaml")))[0] == RUN_SCHEMA


def test_an_output_that_was_put_aside_comes_to_the_task_of_a_hook() -> None:
    args = '{text: "${nodes.a.output.name}", of: "${ended.status} of ${params.p}, ${run.tenant}", why: "${ended.node}"}'
    text = (
        f"flow: f\nparams: {{p: string}}\nnodes:\n  a: {{task: t, hooks: {{finally: {{task: tell, args: {args}}}}}}}\n"
    )
    plan = Plan.of(load_flow(text, "f.yaml"))
    inputs = plan.inputs(1)
    stored = {"node:0": _record(NodeState.SUCCEEDED), "output:0": STORED, "params": pack({"p": "us"})}
    stored |= {"context": encode_context(RunContext(tenant="acme"))}
    packed = inputs.arguments([stored.get(field) for field in inputs.fields])
    assert resolved(packed, lambda output: {"name": "big"} if output == STORED else unpack(output)) == {
        "text": "big",
        "of": "succeeded of us, acme",
        "why": "a",
    }
