"""What a run waits for, read from what the scripts left, on every server that taskmesh supports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from taskmesh.client.explaining import Explainer, RunExplanation
from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import RunNotFoundError, UsageError
from taskmesh.model.flow import Flow, Node
from taskmesh.model.policies import RetryPolicy
from taskmesh.payload.large_values import NOWHERE
from taskmesh.store.calls import Who
from taskmesh.wire import pack
from tests.contract.store_bench import ME, Bench, plan_of

PLAN = plan_of(
    Node("a", "t", retry=RetryPolicy()), Node("b", "t"), Node("c", "t", needs=("a", "b")), Node("d", "t", needs=("c",))
)


class _Parts:
    """What the explainer uses of a client's parts."""

    def __init__(self, bench: Bench) -> None:
        self.store, self.reader, self.keys = bench.store, bench.reader, bench.keys
        self.plans = Plans(bench.reader.flow_body)
        self.large = NOWHERE


@pytest.fixture(params=("redis_url", "valkey_url", "redis_cluster_url"))
def bench(request: pytest.FixtureRequest, namespace: str) -> Iterator[Bench]:
    bench = Bench(request.getfixturevalue(request.param), namespace)
    yield bench
    bench.link.close()


def _explain(bench: Bench, node: str | None = None, limit: int | None = 20) -> RunExplanation:
    return Explainer(cast(ClientParts, _Parts(bench))).explain("r1", node, limit)


def _events(explanation: RunExplanation) -> dict[str, str | None]:
    return {each.node: each.event for each in explanation.nodes}


def test_a_life_of_a_run(bench: Bench) -> None:
    bench.admit(PLAN)
    first = _explain(bench)
    assert _events(first) == {"a": "claim", "b": "claim", "c": "nodes", "d": "nodes"}
    assert {each.node: each.needs for each in first.nodes}["c"] == ("a", "b")
    assert (first.unfinished, first.states) == (4, {"ready": 2, "waiting": 2})
    assert "no worker serves pool 'default'" in "\n".join(first.nodes[0].reasons)
    bench.housekeeping.serve_pools(ME, ["default"], 30.0)
    bench.housekeeping.note_probes("default", {"q0": bench.housekeeping.time() - 3})
    assert "1 I/O process" in (served := "\n".join(_explain(bench, "a").nodes[0].reasons))
    assert "sent at most " in served

    claimed = bench.claim(PLAN, 0)
    running = _explain(bench, "a").nodes[0]
    assert (running.event, running.attempt) == ("attempt", 1)
    assert running.until is not None
    bench.retry(PLAN, 0, claimed.token, delay_seconds=3600.0)
    retrying = _explain(bench, "a").nodes[0]
    assert retrying.event == "timer"
    assert "1 of at most 5 tries have failed" in retrying.reasons[0]
    assert "ValueError: once more" in retrying.reasons[1]

    bench.controls.pause_runs(["r1"], Who("ann", "night"))
    paused = _explain(bench)
    assert _events(paused) == {"a": "timer", "b": "resume", "c": "nodes", "d": "nodes"}
    assert "by ann" in paused.reasons[0]
    assert paused.commands == ("taskmesh resume r1",)
    bench.controls.resume_runs([("r1", PLAN.hash)])

    bench.run_through(PLAN, 1, "failed", error=pack({"type": "OSError", "message": "gone", "traceback": ""}))
    bench.halt("r1", "failed")
    halted = _explain(bench)
    assert "1 retrying" in halted.reasons[0]
    assert "OSError: gone" in halted.reasons[1]
    bench.controls.terminate_runs([("r1", PLAN.hash)], Who("ann", "enough"))
    ended = _explain(bench, "a")
    assert ended.status == "terminated"
    assert "by ann" in ended.reasons[0]
    assert (ended.unfinished, ended.nodes[0].state) == (0, "cancelled")
    assert "did not come to its end" in ended.nodes[0].reasons[0]
    assert _explain(bench).nodes == ()


def test_a_deadline_of_the_run(bench: Bench) -> None:
    bench.admit(PLAN, deadline_seconds=3600.0)
    assert any(reason.startswith("its deadline is in 59 min ") for reason in _explain(bench).reasons)


def test_a_node_behind_an_open_breaker(bench: Bench) -> None:
    bench.admit(PLAN)
    token = bench.claim(PLAN, 0).token
    parked = {"cause": "breaker:pay", "counts": False, "delay_seconds": 60.0}
    bench.settle(PLAN, 0, token, "retrying", output=b"", error=b"", **parked)
    node = _explain(bench, "a").nodes[0]
    assert node.event == "breaker"
    assert "circuit breaker 'pay', in " in node.reasons[0]
    assert len(node.reasons) == 2


def test_a_holder_that_is_gone(bench: Bench) -> None:
    bench.admit(PLAN)
    bench.claim(PLAN, 0)
    bench.housekeeping.end_holder(ME)
    assert _explain(bench, "a").nodes[0].event == "takeover"


def test_nodes_that_have_ended(bench: Bench) -> None:
    bench.admit(PLAN)
    bench.run_through(PLAN, 0)
    bench.run_through(PLAN, 1, "failed")
    assert _explain(bench, "a").nodes[0].reasons[0].startswith("succeeded")
    assert "'b', which it needs" in _explain(bench, "c").nodes[0].reasons[0]
    done = _explain(bench)
    assert (done.status, done.nodes) == ("failed", ())
    assert done.commands == ("taskmesh show r1", "taskmesh retry r1")


def test_what_is_not_there(bench: Bench) -> None:
    with pytest.raises(RunNotFoundError):
        _explain(bench)
    bench.admit(PLAN)
    with pytest.raises(UsageError, match="no node 'x'"):
        _explain(bench, "x")


def test_a_wide_run_is_told_in_part_and_whole(bench: Bench) -> None:
    width = 450
    nodes = [Node(f"n{at}", "t") for at in range(width)]
    plan = Plan.of(Flow("wide", "1", (*nodes, Node("z", "t", needs=tuple(node.name for node in nodes)))))
    bench.admit(plan)
    part = _explain(bench)
    assert (len(part.nodes), part.unfinished) == (20, width + 1)
    assert {each.event for each in part.nodes} == {"claim"}
    whole = _explain(bench, limit=None)
    assert len(whole.nodes) == width + 1
    assert whole.nodes[-1].node == "z"
