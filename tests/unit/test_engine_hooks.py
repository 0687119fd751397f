"""The engine runs hooks: after what they observe, whatever the run was halted for, and without a say in its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest

from taskmesh.client.details import run_details
from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.dispatch.plan import BEFORE_HOOKS, Plan
from taskmesh.dispatch.reopening import resets
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.hooks import Hook, hook_name
from taskmesh.model.policies import RetryPolicy, Wait
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.model.validation import complete
from taskmesh.store.calls import Word
from taskmesh.wire import unpack
from taskmesh.worker.channels.protocol import Failure
from tests.contract.store_bench import Bench
from tests.unit.engine_bench import EngineBench

Test = Callable[[EngineBench], Awaitable[None]]
FAILURE = Failure("ValueError", "for good", "")
TELL = {"how": "${ended.status}", "who": "${ended.node}", "why": "${ended.error}"}
ERROR = {"type": "ValueError", "message": "for good", "traceback": ""}


def _hooks(node: str = "", retry: RetryPolicy | None = None) -> list[Node]:
    """All three of a node, or of the flow; each is called with what it may know."""
    needs = (node,) if node else ()
    return [Node(hook_name(each, node), "t", TELL, needs, retry=retry, trigger=Trigger(hook=each)) for each in Hook]


def _plan(*nodes: Node, on_failure: OnFailure = OnFailure.FAIL_FAST) -> Plan:
    return Plan.of(complete(Flow("f", "1", nodes, on_failure=on_failure)))


async def _finish(bench: EngineBench, failing: Collection[str] = ()) -> list[tuple[str, Any]]:
    """Runs all that comes, until the run has ended; the nodes in their order, each with its arguments."""
    ran = []
    while bench.status() in ("running", "compensating"):
        await bench.until(lambda: bool(bench.pool.works) or bench.status() not in ("running", "compensating"))
        for id_, work in list(bench.pool.works.items()):
            ran.append((work.context[1], unpack(work.arguments)))
            bench.pool.finish(id_, FAILURE if work.context[1] in failing else None)
    await bench.until(lambda: bench.is_idle)
    return ran


def _told(ran: list[tuple[str, Any]]) -> dict[str, tuple[Any, Any, Any]]:
    return {name: (args["how"], args["who"], args["why"]) for name, args in ran if "how" in args}


def _states(bench: EngineBench, plan: Plan) -> dict[str, str]:
    return {node.name: str(node.status) for node in run_details(bench.side.record(), plan).nodes}


def test_hooks_hear_of_a_success(play_by_hand: Callable[[Test], None]) -> None:
    plan = _plan(Node("a", "t"), Node("b", "t", needs=("a",)), *_hooks("a"), *_hooks())

    async def test(bench: EngineBench) -> None:
        bench.submit(plan)
        ran = await _finish(bench)
        assert bench.status() == "succeeded"
        assert _told(ran) == {
            "a.on_success": ("succeeded", "a", None),
            "a.finally": ("succeeded", "a", None),
            "flow:on_success": ("succeeded", None, None),
            "flow:finally": ("succeeded", None, None),
        }
        assert {name for name, _ in ran[-2:]} == {"flow:on_success", "flow:finally"}
        assert _states(bench, plan)["a.on_failure"] == _states(bench, plan)["flow:on_failure"] == "skipped"
        hooks = {
            node.name: (node.hook, node.rule) for node in run_details(bench.side.record(), plan).nodes if node.hook
        }
        assert hooks == {node.name: (str(node.hook), "") for node in plan.flow.nodes if node.hook}

    play_by_hand(test)


@pytest.mark.parametrize("on_failure", [OnFailure.FAIL_FAST, OnFailure.CONTINUE])
def test_hooks_hear_of_a_failure_and_take_nothing_of_it(
    play_by_hand: Callable[[Test], None], on_failure: OnFailure
) -> None:
    nodes = (Node("a", "t"), Node("b", "t", needs=("a",)))
    plan = _plan(*nodes, *_hooks("a"), *_hooks("b"), *_hooks(), on_failure=on_failure)

    async def test(bench: EngineBench) -> None:
        bench.submit(plan)
        told = _told(await _finish(bench, failing={"a"}))
        halt = "failed" if on_failure is OnFailure.FAIL_FAST else ""
        assert (bench.status(), bench.side.record().summary.halt) == ("failed", halt)
        assert told == {
            "a.on_failure": ("failed", "a", ERROR),
            "a.finally": ("failed", "a", ERROR),
            "flow:on_failure": ("failed", "a", ERROR),
            "flow:finally": ("failed", "a", ERROR),
        }
        states = _states(bench, plan)
        assert states["b"] == "upstream_failed"
        assert {states[hook_name(each, "b")] for each in Hook} == {"skipped"}

    play_by_hand(test)


def test_a_hook_of_the_flow_waits_for_what_still_runs_beside_a_failure(play_by_hand: Callable[[Test], None]) -> None:
    plan = _plan(Node("a", "t"), Node("b", "t"), Node("join", "t", needs=("a", "b")), *_hooks())

    async def test(bench: EngineBench) -> None:
        bench.submit(plan)
        await bench.until(lambda: len(bench.pool.works) == 2)
        [failing] = [id_ for id_, work in bench.pool.works.items() if work.context[1] == "a"]
        bench.pool.finish(failing, FAILURE)
        await bench.until(lambda: _states(bench, plan)["join"] == "upstream_failed")
        await bench.turn()
        assert {work.context[1] for work in bench.pool.works.values()} == {"b"}
        assert set(_told(await _finish(bench))) == {"flow:on_failure", "flow:finally"}

    play_by_hand(test)


def test_the_failure_of_a_hook_is_visible_and_tried_again_and_fails_no_run(
    play_by_hand: Callable[[Test], None],
) -> None:
    retry = RetryPolicy(max_attempts=2, wait=Wait.FIXED, base_seconds=0.001)
    plan = _plan(Node("a", "t"), *_hooks("a", retry), *_hooks(retry=retry))

    async def test(bench: EngineBench) -> None:
        bench.submit(plan)
        failing = {"a.on_success", "flow:finally"}
        ran = asyncio.create_task(_finish(bench, failing))
        while not ran.done():
            for key in bench.side.timers():
                _deliver_again(bench, plan, key.node)
            await asyncio.sleep(0.002)
        assert bench.status() == "succeeded"
        assert {name for name, state in _states(bench, plan).items() if state == "failed"} == failing
        times = Counter(name for name, _ in await ran)
        assert [times[name] for name in failing] == [2, 2]

    play_by_hand(test)


def _deliver_again(bench: EngineBench, plan: Plan, node: int) -> None:
    woken = bench.side.wake(node)
    if woken.word is Word.WOKEN:
        bench.broker.deliver(outgoing(Ready(plan, "r1", node, "r1", woken.attempt, woken.token)).body)


def test_of_a_cancelled_run_only_finally_runs(play_by_hand: Callable[[Test], None]) -> None:
    plan = _plan(Node("a", "t"), Node("b", "t", needs=("a",)), *_hooks("a"), *_hooks("b"), *_hooks())

    async def test(bench: EngineBench) -> None:
        [first] = bench.submit(plan, deliver=False)
        bench.side.halt("r1", "cancelled")
        bench.broker.deliver(first)
        told = _told(await _finish(bench))
        assert bench.status() == "cancelled"
        assert {name: how[:2] for name, how in told.items()} == {
            "a.finally": ("cancelled", "a"),
            "flow:finally": ("cancelled", None),
        }

    play_by_hand(test)


def test_hooks_run_after_the_deadline_of_their_run(play_by_hand: Callable[[Test], None]) -> None:
    plan = _plan(Node("a", "t"), *_hooks())

    async def test(bench: EngineBench) -> None:
        bench.submit(plan, deadline_seconds=0.001)
        await bench.until(lambda: bench.status() != "running" or bool(bench.pool.works))
        told = _told(await _finish(bench))
        assert bench.status() == "failed"
        assert {name: how[:2] for name, how in told.items()} == {
            "flow:on_failure": ("failed", "a"),
            "flow:finally": ("failed", "a"),
        }

    play_by_hand(test)


def test_hooks_run_before_anything_is_undone(play_by_hand: Callable[[Test], None]) -> None:
    undoable = Node("a", "t", compensation=Compensation("t"))
    plan = _plan(undoable, Node("b", "t", needs=("a",)), *_hooks("b"), *_hooks(), on_failure=OnFailure.COMPENSATE)

    async def test(bench: EngineBench) -> None:
        bench.submit(plan)
        ran = [name for name, _ in await _finish(bench, failing={"b"})]
        assert bench.status() == "compensated"
        assert ran[:2] == ["a", "b"]
        assert {*ran[2:6]} == {"b.on_failure", "b.finally", "flow:on_failure", "flow:finally"}
        assert ran[6:] == ["undo:a"]

    play_by_hand(test)


def test_a_failure_that_is_taken_is_observed_all_the_same(play_by_hand: Callable[[Test], None]) -> None:
    mend = Node("mend", "t", needs=("a",), trigger=Trigger(Rule.ANY_FAILED))
    plan = _plan(Node("a", "t"), mend, *_hooks("a"), *_hooks())

    async def test(bench: EngineBench) -> None:
        bench.submit(plan)
        told = _told(await _finish(bench, failing={"a"}))
        assert bench.status() == "succeeded"
        assert set(told) == {"a.on_failure", "a.finally", "flow:on_success", "flow:finally"}

    play_by_hand(test)


@pytest.mark.parametrize("kind", ["request", "reply"])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_store_that_fails_at_any_call_loses_no_hook(
    play_by_hand: Callable[[Test], None], kind: str, call: int
) -> None:
    plan = _plan(Node("a", "t"), *_hooks("a")[1:2], *_hooks()[1:])

    async def test(bench: EngineBench) -> None:
        bench.link.lost = {(call, kind)}
        bench.submit(plan)
        told = _told(await _finish(bench, failing={"a"}))
        assert set(told) == {"a.on_failure", "flow:on_failure", "flow:finally"}
        assert (bench.status(), bench.side.record().summary.remaining) == ("failed", 0)

    play_by_hand(test)


def test_what_is_run_again_runs_its_hooks_again(valkey_url: str, namespace: str) -> None:
    """From the last node that ended badly; a hook of a node that stays as it is stays, too."""
    bench = Bench(valkey_url, namespace)
    plan = _plan(Node("a", "t"), Node("b", "t", needs=("a",)), *_hooks("a")[2:], *_hooks("b")[1:2], *_hooks()[2:])
    a, b, a_finally, b_failed, finally_ = range(5)
    bench.admit(plan)
    bench.run_through(plan, a)
    bench.run_through(plan, a_finally)
    bench.run_through(plan, b, "failed")
    bench.run_through(plan, b_failed)
    assert bench.run_through(plan, finally_).run_status == "failed"
    wanted = {each.node: each.wanted for each in resets(plan, bench.record().nodes, {}, None, {})}
    assert wanted == {b: "ready", b_failed: "waiting", finally_: "waiting", BEFORE_HOOKS: "waiting"}
    bench.link.close()
