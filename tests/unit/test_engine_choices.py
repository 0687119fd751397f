"""The engine itself ends switches, and what a condition or a switch does not let run; executors never see those."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskmesh.client.details import NodeDetails, run_details
from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node, OnFailure, Param, Switch, case_of
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.model.validation import complete
from taskmesh.worker.engine import intake
from tests.contract.store_bench import OTHER
from tests.unit.engine_bench import EngineBench

Test = Callable[[EngineBench], Awaitable[None]]

ROUTE = Switch(
    (
        case_of("params.amount > 1000", ("review",)),
        case_of("nodes.check.output == 'out'", ("hold", "notify"), "risky"),
        case_of("", ("auto",)),
    )
)


def _plan(*nodes: Node, on_failure: OnFailure = OnFailure.FAIL_FAST) -> Plan:
    return Plan.of(complete(Flow("f", "1", nodes, params=(Param("amount"),), on_failure=on_failure)))


async def _run(bench: EngineBench, plan: Plan, **params: Any) -> dict[str, NodeDetails]:
    """Runs it to its end, with tasks that give "out"."""
    for ready in bench.side.admit(plan, "r1", params).ready:
        bench.broker.deliver(outgoing(ready).body)
    await bench.until(lambda: bench.is_idle and bench.status() != "running")
    return {node.name: node for node in run_details(bench.side.record(), plan).nodes}


def _states(nodes: dict[str, NodeDetails]) -> dict[str, str]:
    return {name: str(node.status) for name, node in nodes.items()}


def _ran(bench: EngineBench) -> set[str]:
    return {node for _, node in bench.pool.times}


@pytest.mark.parametrize(("amount", "runs"), [(5, set[str]()), (5000, {"big", "next"})])
def test_a_node_whose_condition_is_false_goes_to_no_executor(
    play: Callable[[Test], None], amount: int, runs: set[str]
) -> None:
    plan = _plan(
        Node("big", "t", when="params.amount > 100"),
        Node("next", "t", needs=("big",)),
        Node("join", "t", needs=("next",), trigger=Trigger(Rule.NONE_FAILED)),
    )

    async def test(bench: EngineBench) -> None:
        nodes = await _run(bench, plan, amount=amount)
        assert bench.status() == "succeeded"
        assert _ran(bench) == {"join", *runs}
        if not runs:
            assert _states(nodes) == {"big": "skipped", "next": "skipped", "join": "succeeded"}
            assert (nodes["big"].attempts, nodes["big"].cause, nodes["big"].started_at) == (0, "when", None)
            why = "its condition is false: 'params.amount > 100' is false (params.amount = 5)"
            assert nodes["big"].error == {"type": "Skipped", "message": why, "traceback": ""}
        assert [str(each) for each in nodes["big"].conditions] == [
            f"'params.amount > 100' is {'true' if runs else 'false'} (params.amount = {amount})"
        ]

    play(test)


@pytest.mark.parametrize(
    ("amount", "output", "taken"), [(5000, "review", {"review"}), (5, "risky", {"hold", "notify"})]
)
def test_a_switch_goes_the_first_way_that_holds(
    play: Callable[[Test], None], amount: int, output: str, taken: set[str]
) -> None:
    branches = ("review", "hold", "notify", "auto")
    plan = _plan(
        Node("check", "t"),
        Node("route", "", pool="", switch=ROUTE),
        *(Node(name, "t") for name in branches),
        Node("join", "t", needs=branches, trigger=Trigger(Rule.NONE_FAILED_MIN_ONE_SUCCESS)),
    )

    async def test(bench: EngineBench) -> None:
        nodes = await _run(bench, plan, amount=amount)
        assert bench.status() == "succeeded"
        assert _ran(bench) == {"check", "join", *taken}
        assert (nodes["route"].output, nodes["route"].task, nodes["route"].attempts) == (output, "switch", 1)
        left_out = [nodes[name] for name in branches if name not in taken]
        assert {(str(node.status), node.cause) for node in left_out} == {("skipped", "branch")}
        assert left_out[-1].error is not None
        assert left_out[-1].error["message"] == f"switch 'route' went another way to {output!r}"

    play(test)


def test_a_switch_without_a_way_out_fails(play: Callable[[Test], None]) -> None:
    plan = _plan(Node("route", "", pool="", switch=Switch(ROUTE.cases[:1])), Node("review", "t"))

    async def test(bench: EngineBench) -> None:
        nodes = await _run(bench, plan, amount=1)
        assert _states(nodes) == {"route": "failed", "review": "upstream_failed"}
        assert nodes["route"].error is not None
        assert nodes["route"].error["type"] == "NoCase"
        assert "'params.amount > 1000' is false (params.amount = 1)" in nodes["route"].error["message"]
        assert _ran(bench) == set()

    play(test)


def test_a_condition_that_cannot_be_evaluated_fails_its_node(play: Callable[[Test], None]) -> None:
    plan = _plan(Node("a", "t", when="params.amount > 100"))

    async def test(bench: EngineBench) -> None:
        nodes = await _run(bench, plan, amount="many")
        assert nodes["a"].error is not None
        assert nodes["a"].error["type"] == "ConditionError"
        assert '(params.amount = "many")' in nodes["a"].error["message"]
        assert (bench.status(), _ran(bench)) == ("failed", set())

    play(test)


def test_a_condition_reads_how_needed_nodes_have_ended(play: Callable[[Test], None]) -> None:
    plan = _plan(
        Node("a", "t", when="params.amount > 100"),
        Node("b", "t", trigger=Trigger(depends="a.done"), when='nodes.a.state == "skipped" && nodes.a.output == null'),
    )

    async def test(bench: EngineBench) -> None:
        assert _states(await _run(bench, plan, amount=1)) == {"a": "skipped", "b": "succeeded"}

    play(test)


def test_a_switch_is_ended_by_a_worker_that_knows_none_of_the_tasks(play: Callable[[Test], None]) -> None:
    plan = _plan(Node("route", "", pool="", switch=Switch((case_of("", ("x",)),))), Node("x", "t", when="false"))

    async def test(bench: EngineBench) -> None:
        bench.pool.tasks = frozenset({"other"})
        for ready in bench.side.admit(plan, "r1", {}).ready:
            bench.broker.deliver(outgoing(ready).body)
        await bench.until(lambda: str(bench.side.record().nodes[0].state) == "succeeded")

    play(test)


WAY = Switch((case_of("params.amount > 1", ("b",)), case_of("", ("c",))))


@pytest.mark.parametrize("is_paged", [False, True])
def test_what_is_not_to_run_is_skipped_by_a_worker_that_does_not_know_its_task(
    play: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, is_paged: bool
) -> None:
    plan = _plan(
        Node("a", "t", when="params.amount > 100"),
        Node("route", "", pool="", switch=WAY),
        Node("b", "t"),
        Node("c", "other"),
    )
    monkeypatch.setattr(intake, "FIELDS_PER_CLAIM", 1 if is_paged else intake.FIELDS_PER_CLAIM)

    async def test(bench: EngineBench) -> None:
        bench.pool.tasks = frozenset({"other"})
        nodes = await _run(bench, plan, amount=1)
        ends = {"a": "skipped", "route": "succeeded", "b": "skipped", "c": "succeeded"}
        assert _states(nodes) == ends

    play(test)


def test_what_is_to_run_is_still_handed_on_by_a_worker_that_does_not_know_its_task(
    play: Callable[[Test], None],
) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.tasks = frozenset({"other"})
        for ready in bench.side.admit(_plan(Node("a", "t", when="params.amount > 0")), "r1", {"amount": 1}).ready:
            bench.broker.deliver(outgoing(ready).body)
        await bench.until(lambda: str(bench.side.record().nodes[0].state) == "retrying")
        assert b"handed_on" in bench.side.record().errors[0]

    play(test)


@pytest.mark.parametrize("kind", ["request", "reply"])
@pytest.mark.parametrize("call", range(1, 7))
def test_a_store_that_fails_at_any_call_skips_nothing_twice(play: Callable[[Test], None], kind: str, call: int) -> None:
    plan = _plan(Node("a", "t", when="params.amount > 100"), Node("b", "t", needs=("a",)), Node("c", "t"))

    async def test(bench: EngineBench) -> None:
        bench.link.lost = {(call, kind)}
        nodes = await _run(bench, plan, amount=1)
        assert _states(nodes) == {"a": "skipped", "b": "skipped", "c": "succeeded"}
        assert (nodes["a"].attempts, bench.side.record().summary.remaining) == (0, 0)

    play(test)


def test_what_always_runs_does_so_in_a_halted_run_and_after_its_deadline(play: Callable[[Test], None]) -> None:
    plan = _plan(
        Node("a", "t"),
        Node("tidy", "t", needs=("a",), trigger=Trigger(Rule.ALWAYS)),
        Node("done", "t", needs=("a",), trigger=Trigger(Rule.ALL_DONE)),
    )

    async def test(bench: EngineBench) -> None:
        [ready] = bench.side.admit(plan, "r1", {}, deadline_seconds=0.001).ready
        bench.side.halt("r1", "cancelled")
        await asyncio.sleep(0.01)
        bench.broker.deliver(outgoing(ready).body)
        await bench.until(lambda: bench.is_idle and bench.status() == "cancelled")
        states = {plan.name_of(at): str(node.state) for at, node in bench.side.record().nodes.items()}
        assert states == {"a": "cancelled", "tidy": "succeeded", "done": "cancelled"}

    play(test)


def test_a_failure_that_is_taken_does_not_halt_the_run(play: Callable[[Test], None]) -> None:
    plan = _plan(
        Node("a", "t", when="params.amount > 1"),
        Node("mend", "t", needs=("a",), trigger=Trigger(Rule.ANY_FAILED)),
        Node("other", "t", needs=("mend",)),
    )

    async def test(bench: EngineBench) -> None:
        nodes = await _run(bench, plan, amount="many")
        assert _states(nodes) == {"a": "failed", "mend": "succeeded", "other": "succeeded"}
        assert (bench.status(), bench.side.record().summary.halt) == ("succeeded", "")

    play(test)


BESIDE = Trigger(Rule.ANY_SUCCESS)
"""Begins with the first of those that it needs, while the other may still run."""
STILL_RUNS = 'nodes.slow.state != "succeeded" && nodes.slow.output == null'
HAS_ENDED = 'nodes.slow.state == "succeeded" || nodes.slow.output == "out"'


def _beside(**what: Any) -> Plan:
    node = Node("beside", what.pop("task", "t"), needs=("quick", "slow"), trigger=BESIDE, **what)
    return _plan(Node("quick", "t"), Node("slow", "t"), node, on_failure=OnFailure.CONTINUE)


async def _lost_with_its_worker(bench: EngineBench, plan: Plan) -> dict[str, NodeDetails]:
    """Another worker has claimed the node and dies, nobody knows how far it came; the slow node ends meanwhile."""
    bench.side.admit(plan)
    bench.side.run_through(plan, 0)
    bench.side.claim(plan, 2, OTHER)
    bench.side.run_through(plan, 1)
    bench.side.housekeeping.end_holder(OTHER)
    again = bench.side.redrive(2)
    bench.broker.deliver(outgoing(Ready(plan, "r1", 2, "r1", again.attempt, again.token)).body, redelivered=True)
    await bench.until(lambda: bench.is_idle and bench.status() != "running")
    return {node.name: node for node in run_details(bench.side.record(), plan).nodes}


@pytest.mark.parametrize(("condition", "state"), [(STILL_RUNS, "succeeded"), (HAS_ENDED, "skipped")])
@pytest.mark.parametrize("is_paged", [False, True])
def test_who_takes_a_node_over_decides_as_its_first_claim_would_have(
    play: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, condition: str, state: str, is_paged: bool
) -> None:
    monkeypatch.setattr(intake, "FIELDS_PER_CLAIM", 1 if is_paged else intake.FIELDS_PER_CLAIM)

    async def test(bench: EngineBench) -> None:
        nodes = await _lost_with_its_worker(bench, _beside(when=condition))
        assert _states(nodes) == {"quick": "succeeded", "slow": "succeeded", "beside": state}
        assert (_ran(bench), nodes["beside"].attempts) == (({"beside"}, 2) if state == "succeeded" else (set(), 1))

    play(test)


def test_who_takes_a_switch_over_goes_the_way_that_its_first_claim_would_have(play: Callable[[Test], None]) -> None:
    switch = Switch((case_of(HAS_ENDED, ("late",)), case_of("", ("early",))))
    needs = ("quick", "slow")
    plan = _plan(
        Node("quick", "t"),
        Node("slow", "t"),
        Node("route", "", pool="", needs=needs, trigger=BESIDE, switch=switch),
        Node("early", "t"),
        Node("late", "t"),
    )

    async def test(bench: EngineBench) -> None:
        nodes = await _lost_with_its_worker(bench, plan)
        assert (nodes["route"].output, _ran(bench)) == ("early", {"early"})

    play(test)


def test_a_worker_that_does_not_know_the_task_decides_as_the_first_claim_would_have(
    play: Callable[[Test], None],
) -> None:
    async def test(bench: EngineBench) -> None:
        bench.pool.tasks = frozenset({"other"})
        nodes = await _lost_with_its_worker(bench, _beside(when=HAS_ENDED))
        assert str(nodes["beside"].status) == "skipped"

    play(test)


@pytest.mark.parametrize("is_paged", [False, True])
def test_what_lost_its_executor_runs_again_though_its_condition_would_be_false_by_then(
    play_by_hand: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch, is_paged: bool
) -> None:
    monkeypatch.setattr(intake, "FIELDS_PER_CLAIM", 1 if is_paged else intake.FIELDS_PER_CLAIM)

    async def test(bench: EngineBench) -> None:
        plan = _beside(when=STILL_RUNS)
        bench.submit(plan)
        await bench.until(lambda: len(bench.pool.works) == 2)
        bench.pool.finish(_work_of(bench, "quick"))
        await bench.until(lambda: "beside" in _ran(bench))
        bench.pool.finish(_work_of(bench, "slow"))
        await bench.until(lambda: str(bench.side.record().nodes[1].state) == "succeeded")
        bench.pool.kill(_work_of(bench, "beside"))
        await bench.until(lambda: bench.pool.times["r1", "beside"] == 2 and bool(bench.pool.works))
        bench.pool.finish(_work_of(bench, "beside"))
        await bench.until(lambda: bench.is_idle and bench.status() == "succeeded")
        assert str(bench.side.record().nodes[2].state) == "succeeded"

    play_by_hand(test)


def _work_of(bench: EngineBench, node: str) -> int:
    return next(at for at, work in bench.pool.works.items() if work.context[1] == node)


def test_nothing_is_kept_for_a_node_that_begins_when_all_that_it_reads_has_ended(
    play: Callable[[Test], None],
) -> None:
    plan = _plan(Node("a", "t"), Node("b", "t", needs=("a",), when='nodes.a.state == "succeeded"'))

    async def test(bench: EngineBench) -> None:
        assert _states(await _run(bench, plan)) == {"a": "succeeded", "b": "succeeded"}
        assert bench.side.record().seen == {}

    play(test)
