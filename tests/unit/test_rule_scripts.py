"""The scripts decide of nodes with rules as the table in the model says, and as a small interpreter of whole flows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.rules import Rules
from taskmesh.model.fates import decide
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.graph import Graph
from taskmesh.model.hooks import Hook, hook_name
from taskmesh.model.states import NodeState
from taskmesh.model.triggers import Group, Heard, Rule, Trigger, group_of, thresholds
from taskmesh.store.calls import NodeKey
from taskmesh.store.scripts import PRELUDES
from taskmesh.wire import pack, unpack
from tests.contract.store_bench import Bench
from tests.model.interpreter import Interpreter

MOST_NEEDED = 4
NAMES = ("a", "b", "c")
ENDS = (NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED, None)
OUTCOMES = (NodeState.SUCCEEDED, NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED)
GROUPS = [*Group]
PLAIN_RULES = [each for each in Rule if each is not Rule.N_OF]

ASK_THRESHOLDS = """
local _, fate_by_thresholds = load_rules()
local answers = {}
for at, each in ipairs(cmsgpack.unpack(ARGV[1])) do
  answers[at] = fate_by_thresholds(each[1], each[2], each[3], each[4]) or ''
end
return answers
"""
ASK_PROGRAMS = """
local _, _, fate_by_program = load_rules()
local answers = {}
for at, each in ipairs(cmsgpack.unpack(ARGV[1])) do
  answers[at] = fate_by_program(each[1], each[2], each[3]) or ''
end
return answers
"""


TERMS = st.builds("{}.{}".format, st.sampled_from(NAMES), st.sampled_from(("succeeded", "failed", "skipped", "done")))
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("!({})".format, inner),
        st.builds("({} {} {})".format, inner, st.sampled_from(("&&", "||")), inner),
    ),
    max_leaves=6,
)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(valkey_url)
    yield client
    client.close()


@pytest.fixture
def bench(valkey_url: str, namespace: str) -> Iterator[Bench]:
    bench = Bench(valkey_url, namespace)
    yield bench
    bench.link.close()


def _ask(client: redis.Redis, body: str, questions: list[Any]) -> list[str]:
    folder = resources.files("taskmesh.store") / "lua"
    prelude = "\n".join((folder / name).read_text() for name in PRELUDES)
    answers: Any = client.eval(f"{prelude}\n{body}", 0, pack(questions))
    return [answer.decode() for answer in answers]


def test_the_script_decides_by_every_rule_as_the_table_says(client: redis.Redis) -> None:
    cases = [
        (thresholds(rule, needed, count), Heard(*heard))
        for needed in range(1, MOST_NEEDED + 1)
        for rule, count in [*((rule, 0) for rule in PLAIN_RULES), *((Rule.N_OF, k + 1) for k in range(needed))]
        for heard in product(range(needed + 1), repeat=3)
        if sum(heard) <= needed
    ]
    answers = _ask(client, ASK_THRESHOLDS, [[rule, *heard] for rule, heard in cases])
    expected = [str(rule.decide(heard) or "") for rule, heard in cases]
    assert len(cases) > 900
    assert answers == expected


@settings(deadline=None, max_examples=40, suppress_health_check=[*HealthCheck])
@given(texts=st.lists(EXPRESSIONS, min_size=1, max_size=8))
def test_the_script_reads_every_expression_as_the_model_does(client: redis.Redis, texts: list[str]) -> None:
    questions, expected = [], []
    for text, ends in product(texts, product(ENDS, repeat=3)):
        nodes = (*(Node(name, "t") for name in NAMES), Node("x", "t", needs=NAMES, trigger=Trigger(depends=text)))
        states = {name: end for name, end in zip(NAMES, ends, strict=True) if end}
        expected.append(str(decide(nodes[3], states) or ""))
        _, _, program, asked = unpack(Rules(Graph.of(Flow("f", "1", nodes))).packed([3]))[3]
        questions.append(
            [program, asked, {NAMES.index(name): GROUPS.index(group_of(end)) + 1 for name, end in states.items()}]
        )
    assert _ask(client, ASK_PROGRAMS, questions) == expected


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Small flows of all rules, and with hooks.

    Expressions ask each node once, so that what is certain of them is found at once.
    """
    nodes: list[Node] = []
    for at in range(draw(st.integers(2, 8))):
        needed = draw(st.lists(st.integers(0, at - 1), max_size=3, unique=True)) if at else []
        needs = tuple(f"n{each}" for each in sorted(needed))
        nodes.append(Node(f"n{at}", "t", needs=needs, trigger=draw(_triggers(needs)) if needs else Trigger()))
    places = draw(st.lists(st.tuples(st.integers(0, 10), st.sampled_from(Hook)), max_size=4, unique=True))
    observed = [(nodes[of].name if of < len(nodes) else "", hook) for of, hook in places]
    for of, hook in dict.fromkeys(observed):
        nodes.append(Node(hook_name(hook, of), "t", needs=(of,) if of else (), trigger=Trigger(hook=hook)))
    return Flow("flow", "1", tuple(nodes), on_failure=OnFailure.CONTINUE)


def _triggers(needs: tuple[str, ...]) -> st.SearchStrategy[Trigger]:
    words = st.tuples(*[st.sampled_from(("succeeded", "failed", "skipped", "done"))] * len(needs))
    return st.one_of(
        st.just(Trigger()),
        st.builds(Trigger, st.sampled_from(PLAIN_RULES)),
        st.builds(Trigger, st.just(Rule.N_OF), st.integers(1, len(needs))),
        st.builds(
            lambda asked, sign: Trigger(depends=sign.join(f"{n}.{w}" for n, w in zip(needs, asked, strict=True))),
            words,
            st.sampled_from((" && ", " || ")),
        ),
    )


@settings(deadline=None, max_examples=80, suppress_health_check=[*HealthCheck])
@given(flow=flows(), data=st.data())
def test_random_flows_end_as_the_interpreter_says(bench: Bench, flow: Flow, data: st.DataObject) -> None:
    plan, run_id = Plan.of(flow), uuid4().hex
    bench.admit(plan, run_id)
    model = Interpreter(flow)
    while model.ready:
        name = data.draw(st.sampled_from(model.ready))
        outcome = data.draw(st.sampled_from(OUTCOMES))
        model.end(name, outcome)
        bench.run_through(plan, plan.graph.index[name], outcome, run_id=run_id)
    record = bench.record(run_id)
    assert {plan.name_of(at): node.state for at, node in record.nodes.items() if at >= 0} == model.states
    assert record.summary.status == ("failed" if model.has_failed else "succeeded")


def _plan(*nodes: Node, on_failure: OnFailure = OnFailure.FAIL_FAST) -> Plan:
    return Plan.of(Flow("flow", "1", nodes, on_failure=on_failure))


def _states(bench: Bench, plan: Plan) -> dict[str, str]:
    return {plan.name_of(at): str(node.state) for at, node in bench.record().nodes.items() if at >= 0}


def test_a_node_that_begins_early_is_neither_told_nor_counted_again(bench: Bench) -> None:
    plan = _plan(Node("a", "t"), Node("b", "t"), Node("x", "t", needs=("a", "b"), trigger=Trigger(Rule.ANY_SUCCESS)))
    bench.admit(plan)
    assert [each.node for each in bench.run_through(plan, 0).ready] == [2]
    assert bench.run_through(plan, 2).ready == []
    assert bench.run_through(plan, 1).run_status == "succeeded"
    assert bench.record().nodes[2].attempt == 1


def test_what_could_not_run_for_a_handled_failure_fails_the_run_all_the_same(bench: Bench) -> None:
    plan = _plan(
        Node("a", "t"),
        Node("mend", "t", needs=("a",), trigger=Trigger(Rule.ANY_FAILED)),
        Node("next", "t", needs=("a",)),
    )
    bench.admit(plan)
    assert [each.node for each in bench.run_through(plan, 0, "failed").ready] == [1]
    assert bench.run_through(plan, 1).run_status == "failed"
    assert _states(bench, plan) == {"a": "failed", "mend": "succeeded", "next": "upstream_failed"}
    assert bench.record().failed_node == 2


@pytest.mark.parametrize("cancels", [False, True])
def test_what_follows_from_a_handled_failure_has_what_was_done_undone(bench: Bench, cancels: bool) -> None:
    """Not so where somebody cancels the run, and does not ask for that."""
    plan = _plan(
        Node("first", "t", compensation=Compensation("u")),
        Node("a", "t", needs=("first",)),
        Node("mend", "t", needs=("a",), trigger=Trigger(Rule.ANY_FAILED)),
        Node("next", "t", needs=("a",)),
        on_failure=OnFailure.COMPENSATE,
    )
    bench.admit(plan)
    bench.run_through(plan, 0)
    bench.run_through(plan, 1, "failed")
    if cancels:
        bench.halt("r1", "cancelled")
    assert bench.run_through(plan, 2).run_status == ("cancelled" if cancels else "compensating")


def test_a_halt_does_not_hurry_the_retry_of_a_node_that_always_runs(bench: Bench) -> None:
    plan = _plan(
        Node("a", "t"),
        Node("tidy", "t", needs=("a",), trigger=Trigger(Rule.ALWAYS)),
        Node("hurry", "t"),
    )
    bench.admit(plan)
    bench.halt("r1", "cancelled")
    assert [each.node for each in bench.run_through(plan, 0, "cancelled").ready] == [1]
    for node in (1, 2):
        bench.retry(plan, node, bench.claim(plan, node).token, delay_seconds=600.0)
    records = bench.record().nodes
    assert records[1].ready_at - records[2].ready_at > 500


def test_a_node_of_no_run_time_does_not_use_up_an_attempt(bench: Bench) -> None:
    plan = _plan(Node("a", "t"), Node("b", "t", needs=("a",)))
    bench.admit(plan)
    assert bench.run_through(plan, 0, "skipped", output=b"", cause="when").run_status == "succeeded"
    record = bench.record()
    assert (record.nodes[0].attempt, record.nodes[0].started_at, record.nodes[0].cause) == (0, 0, "when")
    assert _states(bench, plan) == {"a": "skipped", "b": "skipped"}
    assert bench.outbox() == set[NodeKey]()
