"""What is said of the request that a run serves: what is allowed, how it is kept, who may read it."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.gates import Facts, evaluated
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import FlowError, UsageError, WireError
from taskmesh.model.flow import Flow, Node
from taskmesh.model.run_context import MAX_METADATA, NO_CONTEXT, RunContext
from taskmesh.model.validation import check, complete
from taskmesh.wire import pack, unpack
from taskmesh.wire.flows import PLAIN_SCHEMA, RUN_SCHEMA, decode_flow, encode_flow
from taskmesh.wire.run_contexts import decode_context, encode_context

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FULL = RunContext("req-1", "acme", TRACE, "vendor=1", {"plan": "gold", "region": "eu"})


def _flow(args: dict[str, Any], when: str = "", result: Any = None) -> Flow:
    return complete(Flow("f", "1", (Node("n", "t", args, when=when),), result=result))


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        (RunContext(request_id=""), "request_id '' is not usable"),
        (RunContext(request_id="a b"), "visible ASCII characters without spaces"),
        (RunContext(tenant="x" * 129), "must be 1 to 128"),
        (RunContext(traceparent="00-0-0-01"), "is not as W3C Trace Context has it"),
        (RunContext(traceparent=TRACE.replace("00-", "ff-", 1)), "is not as W3C"),
        (RunContext(traceparent=f"00-{'0' * 32}-00f067aa0ba902b7-01"), "is not as W3C"),
        (RunContext(traceparent=TRACE.upper()), "is not as W3C"),
        (RunContext(tracestate="a=1"), "tracestate says nothing without a traceparent"),
        (RunContext(traceparent=TRACE, tracestate="a\n"), "printable ASCII"),
        (RunContext(metadata={"a.b": "1"}), "metadata key 'a.b' is not allowed"),
        (RunContext(metadata={"k" * 65: "1"}), "at most 64 characters"),
        (RunContext(metadata={"a": 1}), "metadata 'a' is a int; only text"),  # type: ignore[dict-item]
        (RunContext(metadata=["a"]), "metadata must map texts to texts; it is a list"),  # type: ignore[arg-type]
        (RunContext(metadata={"a": "ü" * 257}), "metadata 'a' is too long: at most 512 bytes"),
        (RunContext(metadata={"a": "b\nc"}), "cannot be printed"),
        (RunContext(metadata={"a": "\ud800"}), "cannot be printed"),
        (RunContext(metadata={f"k{n}": "" for n in range(MAX_METADATA + 1)}), "33 entries; at most 32"),
        (RunContext(metadata={f"k{n}": "x" * 500 for n in range(9)}), "bytes in all; at most 4096"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_a_sentence(context: RunContext, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        context.checked()
    assert problem in str(caught.value)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        RunContext(request_id=" ", tenant=" ", metadata={"": ""}).checked()
    assert len(str(caught.value).split("\n")) == 3


def test_what_is_kept_comes_back() -> None:
    assert decode_context(encode_context(FULL.checked())) == FULL
    assert encode_context(NO_CONTEXT) == b""
    assert decode_context(b"") is decode_context(None) is NO_CONTEXT


@pytest.mark.parametrize(
    "packed", [b"\xc1", pack([2, None, None, None, None, {}]), pack({}), pack([1, "a"]), b"x" * 20000]
)
def test_bytes_that_are_no_context_are_refused(packed: bytes) -> None:
    with pytest.raises(WireError):
        decode_context(packed)


def test_what_is_said_stands_above_what_was_said_before() -> None:
    said = RunContext("req-2", metadata={"plan": "free"})

    assert said.over(FULL) == RunContext("req-2", "acme", TRACE, "vendor=1", {"plan": "free", "region": "eu"})
    other = RunContext(traceparent=TRACE.replace("4bf", "5bf"))
    assert (other.over(FULL).traceparent, other.over(FULL).tracestate) == (other.traceparent, None)


def test_a_run_that_says_nothing_is_stored_as_it_was() -> None:
    plan = Plan.of(_flow({}))

    assert entrance_of(plan, Submission({}, "r"), 1000).further == ()
    assert entrance_of(plan, Submission({}, "r", context=FULL), 1000).further == ("context", encode_context(FULL))
    with pytest.raises(UsageError, match="tenant"):
        entrance_of(plan, Submission({}, "r", context=RunContext(tenant="")), 1000)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("${run.request_id}", "req-1"),
        ("${run.tenant}/${run.metadata.plan}", "acme/gold"),
        ("${run.metadata}", {"plan": "gold", "region": "eu"}),
        ("${run.metadata.gone}", None),
        ("$${run.tenant}", "${run.tenant}"),
    ],
)
def test_arguments_and_results_refer_to_it(value: str, found: object) -> None:
    plan = Plan.of(_flow({"x": value}, result=value))
    inputs = plan.inputs(0)
    values = [encode_context(FULL)] if "context" in inputs.fields else []

    assert unpack(inputs.arguments(values)) == {"x": found}
    assert plan.graph.resolve_result({}, {}, FULL) == found


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("${run.metdata.plan}", "did you mean 'metadata'?"),
        ("${run}", "of a run there are request_id, tenant, metadata"),
        ("${run.tenant.x}", "run.tenant is text, and has nothing inside"),
        ("${run.metadata.a.b}", "write run.metadata.KEY, where KEY is one name"),
        ("${run.id}", "of a run there are"),
    ],
)
def test_unknown_names_are_refused_when_the_flow_is_loaded(value: str, problem: str) -> None:
    [found] = check(Flow("f", "1", (Node("n", "t", {"x": value}),)))
    assert problem in str(found)


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("run.metdata.plan == 'x'", "asks for run.metdata; of a run there are"),
        ("run == 'x'", "uses run as a whole"),
        ("run.id == 'x'", "asks for run.id; of a run there are request_id, tenant, metadata"),
        ("run.tenant.x == 'x'", "can never be evaluated"),
        ("run.metadata.a.b == 'x'", "can never be evaluated"),
        ("run.metadata.n > 5", "can never be evaluated"),
    ],
)
def test_conditions_over_unknown_names_are_refused_too(condition: str, problem: str) -> None:
    [found] = check(Flow("f", "1", (Node("n", "t", when=condition),)))
    assert problem in str(found)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('run.metadata.plan == "gold"', True),
        ('run.metadata["plan"] == "free"', False),
        ("run.metadata.gone == null", True),
        ('"region" in run.metadata && run.metadata.region == "eu"', True),
        ('run.tenant.startsWith("ac") && run.request_id == "req-1"', True),
        ('run.metadata.exists(key, key == "plan")', True),
        ("size(run.metadata) == 2", True),
    ],
)
def test_conditions_read_it(condition: str, holds: bool) -> None:
    plan = Plan.of(_flow({}, when=condition))

    [found] = evaluated(plan.graph, 0, Facts(None, {}, {}, encode_context(FULL)))

    assert found.holds is holds
    passage = plan.inputs(0).gate
    assert passage is not None
    assert passage.fields == ("context",)
    assert bool(passage.decide([encode_context(FULL)]).skip) is not holds


def test_only_a_flow_that_refers_to_it_is_refused_by_older_workers() -> None:
    for flow in (_flow({"x": "$${run.tenant}"}), _flow({"x": "run"})):
        assert unpack(encode_flow(flow))[0] == PLAIN_SCHEMA
    for flow in (_flow({"x": "${run.tenant}"}), _flow({}, result="${run.tenant}"), _flow({}, when="run.tenant == 'a'")):
        assert unpack(encode_flow(flow))[0] == RUN_SCHEMA
        assert decode_flow(encode_flow(flow)) == flow
    with pytest.raises(FlowError):
        _flow({"x": "${run.nothing}"})
