"""What stands for an output that was put aside: what may be taken for it, and what is done with it where."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from taskmesh.client.heard import Heard
from taskmesh.client.restarting import Restarting
from taskmesh.client.signalling import Signalling
from taskmesh.clock import SystemClock
from taskmesh.dispatch.children.births import Birth, Bodies
from taskmesh.dispatch.children.inputs import ChildInputs
from taskmesh.dispatch.deferring import resolved
from taskmesh.dispatch.gates import CONDITION, RUN_IT, Facts, evaluated
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import PayloadError, WireError
from taskmesh.model.flow import Compensation, Flow, Node, Param
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import Map, mapped
from taskmesh.model.run_context import RunContext
from taskmesh.model.states import NodeState
from taskmesh.model.subflows import Subflow
from taskmesh.model.validation import complete
from taskmesh.model.waiting import Approve, Wait
from taskmesh.payload.large_values import NOWHERE
from taskmesh.store.calls import NodeKey
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, pack_check, pack_output, read_check
from taskmesh.wire.codec import CLAIM_CHECK, DEFERRED, PARTED, PutAsideError
from taskmesh.wire.run_contexts import encode_context
from taskmesh.worker.channels.protocol import Outcome, Work
from taskmesh.worker.executors.invoke import Invoker
from taskmesh.worker.executors.large_outputs import LargeOutputs
from taskmesh.worker.executors.pulse import Pulse

CHECK = ClaimCheck(b"n" * 16, 2_000_000, b"d" * 32)
STORED = pack_check(CHECK)


def _plan(*nodes: Node) -> Plan:
    return Plan.of(complete(Flow("f", "1", nodes)))


def _big(output: bytes) -> Any:
    """The value of an output, where the one that was put aside is this."""
    return {"rows": [1, 2, 3], "name": "big"} if read_check(output) == CHECK else unpack(output)


def test_a_claim_check_comes_back_and_nothing_else_is_one() -> None:
    assert read_check(STORED) == CHECK
    for value in (None, 1, "x", b"x" * 300, [STORED], {"a": STORED}, {1, 2}, 2**70):
        assert read_check(pack(value)) is None


@pytest.mark.parametrize("code", [CLAIM_CHECK, DEFERRED, PARTED])
@pytest.mark.parametrize("length", [1, 2, 4, 8, 16, 20, 300, 70_000])
def test_no_value_of_a_user_is_taken_for_one(code: int, length: int) -> None:
    forged = msgpack.ExtType(code, b"x" * length)
    with pytest.raises(WireError, match=f"a msgpack.ExtType of code {code} has a meaning here"):
        pack_output(forged)
    # Inside of other values it is nothing that can be read, and nobody looks there for one.
    nested = pack_output([forged])
    assert read_check(nested) is None
    with pytest.raises(WireError):
        unpack(nested)


@pytest.mark.parametrize(
    "fields", [[], [b"n" * 15, 1, b"d" * 32], [b"n" * 16, 1, b"d" * 31], ["n" * 16, 1, b"d" * 32], 7]
)
def test_a_claim_check_of_other_fields_is_refused(fields: Any) -> None:
    with pytest.raises(WireError, match="not a claim check"):
        read_check(pack(msgpack.ExtType(CLAIM_CHECK, pack(fields))))


def test_half_a_claim_check_is_told_as_damage() -> None:
    # Of so few bytes nobody can say what they were; further on, it must be seen that some are missing.
    assert [read_check(STORED[:length]) for length in range(3)] == [None, None, None]
    for length in range(3, len(STORED)):
        with pytest.raises(WireError):
            read_check(STORED[:length])


def test_where_it_cannot_be_fetched_a_sentence_says_so() -> None:
    with pytest.raises(PutAsideError, match="put aside, since it is large"):
        unpack(STORED)


def test_arguments_made_of_it_are_resolved_where_the_task_runs() -> None:
    args = {
        "rows": "${nodes.a.output.rows.1}",
        "text": "${nodes.a.output.name} of ${params.p}",
        "b": "${nodes.b.output}",
    }
    args |= {"who": "${run.tenant}"}
    flow = Flow("f", "1", (Node("a", "t"), Node("b", "t"), Node("c", "t", args)))
    plan = Plan.of(flow)
    packed = plan.inputs(2).arguments([pack({"p": "us"}), STORED, pack(5), encode_context(RunContext(tenant="acme"))])

    with pytest.raises(PutAsideError):
        unpack(packed)
    assert resolved(packed, _big) == {"rows": 2, "text": "big of us", "b": 5, "who": "acme"}


def test_an_undo_gets_it_too() -> None:
    undo = Compensation("u", "default")
    plan = _plan(Node("a", "t"), Node("b", "t", {"x": "${nodes.a.output.name}"}, compensation=undo))
    inputs = plan.inputs(plan.undo_of(1))

    of_both = inputs.arguments([STORED, STORED])
    assert resolved(of_both, _big) == {"x": "big", "result": {"rows": [1, 2, 3], "name": "big"}}
    of_arguments = inputs.arguments([STORED, pack(1)])
    assert resolved(of_arguments, _big) == {"x": "big", "result": 1}
    of_output = inputs.arguments([pack({"name": "small"}), STORED])
    assert resolved(of_output, _big)["x"] == "small"


def test_what_is_small_is_resolved_where_it_always_was() -> None:
    plan = _plan(Node("a", "t"), Node("b", "t", {"x": "${nodes.a.output}"}))
    assert unpack(plan.inputs(1).arguments([pack(1)])) == {"x": 1}


def test_a_condition_reads_it_only_where_it_is_fetched() -> None:
    plan = _plan(
        Node("a", "t"), Node("b", "t", when="nodes.a.output.n > 1"), Node("c", "t", when='nodes.a.state == "x"')
    )
    gate = plan.inputs(1).gate
    assert gate is not None
    with pytest.raises(PutAsideError):
        gate.decide([STORED])
    assert gate.decide([STORED], lambda stored: {"n": 2}) == RUN_IT
    assert gate.decide([STORED], lambda stored: {"n": 1}).skip == CONDITION
    [found] = evaluated(plan.graph, 1, Facts(None, {0: STORED}, {}))
    assert (found.holds, found.condition) == (None, "nodes.a.output.n > 1")
    assert found.values == "it reads what was put aside, which is not fetched to show it"
    assert [each.holds for each in evaluated(plan.graph, 2, Facts(None, {0: STORED}, {}))] == [False]


class Echo:
    """A task that gives back what it is given."""

    is_async = False

    def function(self, **arguments: Any) -> Any:
        return arguments

    def taken(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments


def _run(arguments: bytes, max_value_bytes: int = 1000) -> Outcome:
    tasks: Mapping[str, Echo] = {"t": Echo()}
    clock = SystemClock()
    invoker = Invoker(tasks, max_value_bytes, clock, Pulse(lambda _: None, clock), LargeOutputs())
    return invoker.run(Work(1, "t", arguments, ("run", "node", 1)))


def test_an_executor_that_does_not_know_where_it_is_says_so() -> None:
    plan = _plan(Node("a", "t"), Node("b", "t", {"x": "${nodes.a.output}"}))
    failure = _run(plan.inputs(1).arguments([STORED])).failure
    assert failure is not None
    assert failure.type == f"{PayloadError.__module__}.{PayloadError.__qualname__}"
    assert failure.message == (
        "the output of node 'a': a value of run 'run' was put aside, and the settings of this process do not say where "
        "(payload.url)"
    )


def test_where_nothing_is_put_aside_the_limit_is_what_it_was() -> None:
    failure = _run(pack({"x": "y" * 2000})).failure
    assert failure is not None
    assert "limits.max_value_bytes allows 1000" in failure.message


BIG = Node("a", "t")
CHILD = Flow("child", "1", (Node("x", "t", {"x": "${params.x}"}),), params=(Param("x"),))


@pytest.mark.parametrize(
    "node",
    [
        mapped(Node("b", "t", {"x": "${item}"}), Map(Node("b", "t", {"x": "${item}"})), "${nodes.a.output.rows}"),
        mapped(Node("b", "t", {"x": "${nodes.a.output}"}), Map(Node("b", "t", {"x": "${nodes.a.output}"})), [1, 2]),
        Node("b", "", {"x": "${nodes.a.output}"}, step=Subflow("", CHILD)),
        Node("b", "", {"x": "${nodes.a.output}"}, step=Loop("output > 1", 2, inline=CHILD)),
    ],
)
def test_a_node_that_begins_a_run_is_not_given_it_where_it_cannot_be_fetched(node: Node) -> None:
    plan = Plan.of(complete(Flow("f", "1", (BIG, node))))
    inputs = plan.inputs(1)
    assert isinstance(inputs, ChildInputs)
    around: Any = SimpleNamespace(child_id=lambda key, turn: "child")
    birth = Birth(plan, NodeKey("r", 1), "r", inputs.arguments([STORED, *[None] * 5]), around, None)
    with pytest.raises(PutAsideError):
        Bodies(lambda hash_, name: None, 1000).flow_of(birth)


def test_explain_fetches_what_somebody_is_asked_or_says_why_not() -> None:
    plan = _plan(BIG, Node("b", "", {"question": "pay ${nodes.a.output}?"}, ("a",), step=Approve()))
    kept: Any = SimpleNamespace(run_fields=lambda run_id, fields: [STORED, None, None])
    states = {1: NodeState.RETRYING}
    first, *_ = Heard(kept, lambda run_id, stored: f"{run_id}: 7").reasons(plan, "r", states, 0.0)[1]
    assert first == "it asks: pay r: 7?"
    first, *_ = Heard(kept, NOWHERE.value).reasons(plan, "r", states, 0.0)[1]
    assert first.startswith("it asks: (what, cannot be told: the output of node 'a': a value of run 'r' was put aside")


def test_nobody_sends_what_looks_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(Node("a", "", step=Wait()))
    parts: Any = SimpleNamespace(store=None)
    monkeypatch.setattr(Restarting, "plan_of", lambda self, run_id: (plan, "r"))
    with pytest.raises(WireError, match=f"a msgpack.ExtType of code {CLAIM_CHECK} has a meaning here"):
        Signalling(parts, 1000).signal("r", "a", msgpack.ExtType(CLAIM_CHECK, b"x"), "me")
