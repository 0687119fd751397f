"""What is remembered of runs, and how it is told, on every server that taskmesh supports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import pytest

from taskmesh.client.details import RunEvent
from taskmesh.client.history import run_history
from taskmesh.model.flow import Node
from taskmesh.store.calls import Marking, NodeKey, Who
from taskmesh.store.link import Command, value_of
from taskmesh.store.preparations import Reset
from taskmesh.wire import pack
from tests.contract.store_bench import ME, OTHER, Bench, plan_of

PLAN = plan_of(Node("a", "t"), Node("b", "t"), Node("c", "t", needs=("a",)))
KEPT = 10_000

Told: TypeAlias = tuple[str | None, str, int, str, str]


@pytest.fixture(params=("redis_url", "valkey_url", "redis_cluster_url"))
def bench(request: pytest.FixtureRequest, namespace: str) -> Iterator[Bench]:
    bench = Bench(request.getfixturevalue(request.param), namespace)
    bench.admit(PLAN)
    yield bench
    bench.link.close()


def _history(bench: Bench) -> list[RunEvent]:
    events = run_history(bench.record(), PLAN)
    assert [event.at for event in events] == sorted(event.at for event in events)
    return events


def _of(bench: Bench, node: str) -> list[Told]:
    return [(e.state, e.holder, e.attempt, e.cause, e.why) for e in _history(bench) if e.node == node]


def _fields(bench: Bench) -> int:
    key = bench.keys.run("r1")
    [reply] = bench.link.exchange([Command(key, "HEXISTS", key, "history")])
    return int(value_of(reply))


def test_a_node_that_goes_well_is_told_from_its_record_alone(bench: Bench) -> None:
    bench.run_through(PLAN, 0)
    assert _of(bench, "a") == [("ready", "", 0, "", ""), ("running", ME, 1, "", ""), ("succeeded", ME, 1, "", "")]
    assert _of(bench, "c") == [("ready", "", 0, "", "")]
    assert _fields(bench) == 0


def test_every_attempt_of_a_node_is_told(bench: Bench) -> None:
    bench.retry(PLAN, 0, bench.claim(PLAN, 0).token)
    bench.wake(0)
    token = bench.claim(PLAN, 0, OTHER, token=3).token
    bench.release(0, token, counts=False, holder=OTHER)
    bench.release(0, token, counts=False, holder=OTHER)
    bench.claim(PLAN, 0, OTHER, token=5)
    bench.housekeeping.end_holder(OTHER)
    token = bench.claim(PLAN, 0, ME, token=6).token
    bench.release(0, token)
    token = bench.claim(PLAN, 0, ME, token=8).token
    bench.housekeeping.end_holder(ME)
    bench.redrive(0)
    bench.housekeeping.renew_holder(ME, 30.0)
    token = bench.claim(PLAN, 0, ME, token=10).token
    bench.settle(PLAN, 0, token, "failed", error=pack({"type": "OSError", "message": "gone", "traceback": ""}))
    lapsed = "the lease of its holder was over"
    assert _of(bench, "a") == [
        ("ready", "", 0, "", ""),
        ("running", ME, 1, "", ""),
        ("retrying", ME, 1, "", "ValueError: once more"),
        ("ready", "", 1, "woken", ""),
        ("running", OTHER, 2, "", ""),
        ("ready", OTHER, 2, "released", ""),
        ("running", OTHER, 2, "", ""),
        ("ready", OTHER, 2, "taken_over", lapsed),
        ("running", ME, 3, "", ""),
        ("ready", ME, 3, "released", "its executor died"),
        ("running", ME, 4, "", ""),
        ("ready", ME, 4, "redriven", lapsed),
        ("running", ME, 5, "", ""),
        ("failed", ME, 5, "", "OSError: gone"),
    ]
    assert _of(bench, "c") == [("upstream_failed", "", 0, "", "node 'a', which it needs, has failed")]


def test_what_people_did_is_told_with_their_names(bench: Bench) -> None:
    bench.controls.pause_runs(["r1"], Who("ann", "night"))
    bench.controls.pause_runs(["r1"], Who("bob", "too late"))
    bench.controls.resume_runs([("r1", PLAN.hash)], who=Who("bob"))
    bench.controls.halt_runs(["r1"], "cancelled", Who("eve", "wrong"))
    bench.controls.terminate_runs([("r1", PLAN.hash)], Who("ann", "now"))
    steered = [(e.kind, e.state, e.by, e.why) for e in _history(bench) if e.node is None]
    assert steered == [
        ("run", "running", "", ""),
        ("pause", "paused", "ann", "night"),
        ("resume", "running", "bob", ""),
        ("halt", "cancelled", "eve", "wrong"),
        ("halt", "terminated", "ann", "now"),
        ("run", "terminated", "", ""),
    ]


def test_a_failure_that_halts_the_run_is_told(bench: Bench) -> None:
    bench.claim(PLAN, 1)
    bench.run_through(PLAN, 0, "failed", halt="failed")
    [halt] = [event for event in _history(bench) if event.kind == "halt"]
    assert (halt.state, halt.why) == ("failed", "node 'a' has failed")


def test_a_run_that_was_reopened_tells_of_its_life_before(bench: Bench) -> None:
    error = pack({"type": "OSError", "message": "gone", "traceback": ""})
    bench.run_through(PLAN, 1)
    bench.run_through(PLAN, 0, "failed", error=error)
    bench.controls.reopen_run("r1", PLAN.hash, "retry", Who("ann", "again"))
    records = bench.record().nodes
    resets = [
        Reset(0, records[0].state, records[0].token, "ready", -1, -1, 0),
        Reset(2, records[2].state, records[2].token, "waiting", -1, -1, 0),
    ]
    for _ in range(2):
        bench.controls.reset_nodes("r1", "retry", PLAN.pools, resets)
    bench.controls.resume_runs([("r1", PLAN.hash)], "retry", Who("ann"))
    token = bench.record().nodes[0].token
    bench.settle(PLAN, 0, bench.claim(PLAN, 0, token=token).token)
    assert _of(bench, "a") == [
        ("ready", "", 0, "", ""),
        ("running", ME, 1, "", ""),
        ("failed", ME, 1, "", "OSError: gone"),
        ("ready", ME, 1, "reset", ""),
        ("running", ME, 2, "", ""),
        ("succeeded", ME, 2, "", ""),
    ]
    assert _of(bench, "c") == [
        ("upstream_failed", "", 0, "", ""),
        ("waiting", "", 0, "reset", ""),
        ("ready", "", 0, "", ""),
    ]
    steered = [(e.kind, e.state, e.by) for e in _history(bench) if e.node is None]
    assert steered == [
        ("run", "running", ""),
        ("run", "failed", ""),
        ("reopen", "paused", "ann"),
        ("resume", "running", "ann"),
    ]


def test_a_node_that_was_ended_by_hand(bench: Bench) -> None:
    bench.claim(PLAN, 0)
    chunk = PLAN.chunks(0)[0]
    marking = Marking(
        NodeKey("r1", 0), "succeeded", pack(1), "by ann: known", PLAN.hash, "default", PLAN.pools, chunk.packed, True
    )
    for _ in range(2):
        bench.controls.mark_nodes([marking])
    assert _of(bench, "a") == [
        ("ready", "", 0, "", ""),
        ("running", ME, 1, "", ""),
        ("succeeded", "", 1, "", "by ann: known"),
    ]


def test_a_breaker_and_a_fallback(bench: Bench) -> None:
    token = bench.claim(PLAN, 0).token
    bench.settle(
        PLAN, 0, token, "retrying", output=b"", error=b"", counts=False, cause="breaker:pay", delay_seconds=0.0
    )
    bench.wake(0)
    bench.settle(PLAN, 0, bench.claim(PLAN, 0, token=3).token, cause="fallback")
    causes = [(state, cause) for state, _, _, cause, _ in _of(bench, "a")]
    assert causes == [
        ("ready", ""),
        ("running", ""),
        ("retrying", "breaker:pay"),
        ("ready", "woken"),
        ("running", ""),
        ("succeeded", "fallback"),
    ]


def test_a_long_error_is_cut_between_characters(bench: Bench) -> None:
    token = bench.claim(PLAN, 0).token
    error = pack({"type": "ValueError", "message": "x" + "é" * 1000, "traceback": ""})
    bench.settle(PLAN, 0, token, "retrying", output=b"", error=error)
    [entry] = [event for event in _history(bench) if event.state == "retrying"]
    assert entry.why.startswith("ValueError: xé")
    assert 490 < len(entry.why.encode()) <= 500


def test_only_the_newest_are_kept(bench: Bench) -> None:
    key = bench.keys.run("r1")
    entry = pack(["pause", 1.0, "paused", "ann", "night"])
    fields = [part for number in range(3) for part in (f"history:{number}", entry)]
    [reply] = bench.link.exchange([Command(key, "HSET", key, "history", KEPT, *fields)])
    value_of(reply)
    bench.retry(PLAN, 0, bench.claim(PLAN, 0).token)
    record = bench.record()
    assert (len(record.history), record.forgotten) == (3, 1)
    [cut] = [event for event in _history(bench) if event.kind == "cut"]
    assert cut.why.startswith("1 older")
