"""Runs of copies of one node, on a real Redis: their items, how many run at once, and how such a run ends early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.maps.copies import copies_params, copies_plan
from taskmesh.dispatch.maps.items import items_of
from taskmesh.dispatch.plan import BEFORE_FIRST, EDGES_PER_SCRIPT, Plan
from taskmesh.model.flow import Flow, Node
from taskmesh.model.mapping import ItemFailure, Map
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.staging import ITEMS_PER_PAGE, stage_items
from taskmesh.wire import unpack
from tests.contract.store_bench import OTHER, Bench

OUTER = Flow("outer", "1", ())
GIVEN = {"params.factor": 3}
ALONE = Map(Node("square", "t", {"value": "${item}", "at": "${index}", "factor": "${params.factor}"}))
BOUND = replace(ALONE, most_at_once=2)


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Bench:
    return Bench(redis_url, namespace)


def _admit(bench: Bench, values: Sequence[Any], step: Map = ALONE, run_id: str = "r1") -> tuple[Plan, list[int]]:
    items = items_of(step, values)
    assert items is not None
    plan = copies_plan(OUTER, step, items)
    submission = Submission(copies_params(GIVEN, "outer-run/square", 1_000_000), run_id)
    entrance = replace(entrance_of(plan, submission, 1_000_000), items=items.chunks)
    [advance] = bench.advancer.admit([entrance])
    return plan, [each.node for each in advance.ready]


def _arguments(bench: Bench, plan: Plan, node: int) -> Any:
    return unpack(plan.inputs(node).arguments(bench.claim(plan, node).fields))


def test_a_copy_is_called_with_its_item_and_what_all_are_given(bench: Bench) -> None:
    plan, ready = _admit(bench, [*range(100)])
    assert ready == [*range(100)]
    assert _arguments(bench, plan, 67) == {"value": 67, "at": 67, "factor": 3}


def test_a_claim_brings_only_the_items_that_stand_beside_its_own(bench: Bench) -> None:
    plan, _ = _admit(bench, [f"{at}" + "x" * 1000 for at in range(1000)])
    fields = bench.claim(plan, 999).fields
    assert sum(len(each or b"") for each in fields) < 4_000


def test_items_of_many_pages_are_all_there(bench: Bench) -> None:
    values = ["x" * 3000] * (2 * ITEMS_PER_PAGE) + ["last"]
    plan, ready = _admit(bench, values)
    assert len(ready) == len(values) > 2 * EDGES_PER_SCRIPT
    assert _arguments(bench, plan, len(values) - 1)["value"] == "last"


def test_a_run_is_not_admitted_without_its_items(bench: Bench, client: redis.Redis) -> None:
    _admit(bench, [*range(100)])
    key = bench.keys.run("r1")
    staged = client.hget(key, "staged")
    client.delete(key)
    client.hset(key, "staged", 1)
    _admit(bench, [*range(100)])
    assert client.hget(key, "staged") == staged


def test_items_that_nobody_admits_expire_and_those_of_a_run_do_not(bench: Bench, client: redis.Redis) -> None:
    stage_items(bench.store, "r2", [b"some"])
    assert client.pttl(bench.keys.run("r2")) > 0
    _admit(bench, [1, 2, 3])
    assert client.pttl(bench.keys.run("r1")) == -1


def test_to_stage_again_changes_nothing(bench: Bench, client: redis.Redis) -> None:
    for _ in range(2):
        stage_items(bench.store, "r1", [b"%d" % at for at in range(2 * ITEMS_PER_PAGE)])
    assert client.hlen(bench.keys.run("r1")) == 2 * ITEMS_PER_PAGE + 1


def test_to_admit_again_is_the_same(bench: Bench) -> None:
    _, ready = _admit(bench, [*range(500)], BOUND)
    assert _admit(bench, [*range(500)], BOUND)[1] == ready == [0, 1]


def test_the_run_succeeds_with_the_last_copy(bench: Bench) -> None:
    plan, _ = _admit(bench, [1, 2])
    assert bench.run_through(plan, 0).run_status == "running"
    assert bench.run_through(plan, 1).run_status == "succeeded"


def test_with_a_bound_the_end_of_one_lets_the_next_begin(bench: Bench) -> None:
    plan, ready = _admit(bench, [*range(5)], BOUND)
    begun = list(ready)
    for node in range(5):
        begun += [each.node for each in bench.run_through(plan, node).ready]
        assert len(bench.outbox()) == min(2, 4 - node)
    assert begun == [0, 1, 2, 3, 4]
    assert bench.record().summary.status == "succeeded"


def test_an_end_that_is_told_again_lets_nothing_else_begin(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(5)], BOUND)
    token = bench.claim(plan, 0).token
    first = bench.settle(plan, 0, token)
    again = bench.settle(plan, 0, token)
    assert (first.word, again.word) == (Word.SETTLED, Word.AGAIN)
    assert [each.node for each in first.ready] == [each.node for each in again.ready] == [2]
    bench.claim(plan, 2)
    assert bench.settle(plan, 0, token).ready == []


def test_whoever_gets_the_message_of_an_ended_copy_publishes_the_next(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(5)], BOUND)
    bench.run_through(plan, 0)
    assert [each.node for each in bench.advancer.resume(plan, NodeKey("r1", 0), "r1").ready] == [2]


def test_an_end_by_another_lets_nothing_begin(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(5)], BOUND)
    token = bench.claim(plan, 0).token
    assert bench.settle(plan, 0, token, holder=OTHER).word is Word.STALE
    assert 2 not in bench.record().nodes


def test_a_retry_keeps_its_place(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(5)], BOUND)
    assert bench.retry(plan, 0, bench.claim(plan, 0).token).ready == []
    bench.wake(0)
    assert [each.node for each in bench.settle(plan, 0, bench.claim(plan, 0).token).ready] == [2]


def test_the_others_go_on_after_a_failure_where_they_may(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(4)], replace(BOUND, on_item_failure=ItemFailure.CONTINUE))
    assert [each.node for each in bench.run_through(plan, 0, "failed").ready] == [2]
    statuses = [bench.run_through(plan, node).run_status for node in (1, 2, 3)]
    assert statuses == ["running", "running", "failed"]


def test_a_halted_run_ends_what_has_not_begun_in_few_steps(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(1000)], BOUND)
    waiting, steps = [0, 1], 0
    advance = bench.run_through(plan, waiting.pop(), "failed", halt="failed")
    while waiting or advance.ready:
        waiting += [each.node for each in advance.ready]
        advance, steps = bench.run_through(plan, waiting.pop(), "cancelled"), steps + 1
    assert advance.run_status == "failed"
    assert steps <= 6
    assert len(bench.record().nodes) == 1000
    assert bench.outbox() == set()


def test_a_bound_run_that_is_cancelled_ends(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(7)], BOUND)
    bench.halt("r1", "cancelled")
    bench.run_through(plan, 0, "cancelled")
    assert bench.run_through(plan, 1, "cancelled").run_status == "cancelled"


def test_what_stands_before_too_many_first_copies_is_told_again(bench: Bench) -> None:
    plan, _ = _admit(bench, [*range(3 * EDGES_PER_SCRIPT)])
    advance = bench.advancer.resume(plan, NodeKey("r1", BEFORE_FIRST), "r1")
    assert len(advance.ready) == 3 * EDGES_PER_SCRIPT
