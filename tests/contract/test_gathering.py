"""What copies gave back as one list, from a real Redis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.maps.copies import copies_params, copies_plan
from taskmesh.dispatch.maps.gathering import ERRORS_PER_READING, SAID_LETTERS, Child, gathered
from taskmesh.dispatch.maps.items import items_of
from taskmesh.dispatch.marks import Mark
from taskmesh.errors import PayloadError
from taskmesh.model.flow import Flow, Node
from taskmesh.model.mapping import ItemFailure, Map
from taskmesh.model.states import NodeState, RunState
from taskmesh.payload.large_values import NOWHERE, LargeValues
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, pack_check, read_check
from taskmesh.wire.codec import PutAsideError
from tests.contract.store_bench import Bench
from tests.harness.large_values import large_values, place_at

LARGE = pack_check(ClaimCheck(b"n" * 16, 2_000_000, b"d" * 32))
OUTER = Flow("outer", "1", ())
STEP = Map(Node("square", "t", {"value": "${item}"}), on_item_failure=ItemFailure.CONTINUE)


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Bench:
    return Bench(redis_url, namespace)


def _gathered(
    bench: Bench,
    total: int,
    failing: frozenset[int],
    most_bytes: int = 1_000_000,
    message: str = "no",
    large: int | None = None,
    place: LargeValues = NOWHERE,
    stored: bytes = LARGE,
    **rules: Any,
) -> Outcome:
    step = replace(STEP, **rules)
    items = items_of(step, [*range(total)])
    assert items is not None
    plan = copies_plan(OUTER, step, items)
    submission = Submission(copies_params({}, "outer-run/square", most_bytes), "r1")
    bench.advancer.admit([replace(entrance_of(plan, submission, 1_000_000), items=items.chunks)])
    error = pack({"type": "ValueError", "message": message, "traceback": "long"})
    for node in range(total):
        ending = (
            ("failed", {"error": error})
            if node in failing
            else ("succeeded", {"output": stored if node == large else pack(node)})
        )
        bench.run_through(plan, node, ending[0], **ending[1])
    return gathered(bench.reader, Child("r1", plan, "outer-run", "ticket"), place, may_block=True)


def test_outputs_stand_in_the_order_of_the_items(bench: Bench) -> None:
    outcome = _gathered(bench, 300, frozenset())
    assert (outcome.status, outcome.ticket, unpack(outcome.output)) == (RunState.SUCCEEDED, "ticket", [*range(300)])


def test_something_that_says_so_stands_for_each_that_has_failed(bench: Bench) -> None:
    failing = frozenset(range(2, ERRORS_PER_READING + 5))
    found = unpack(_gathered(bench, ERRORS_PER_READING + 10, failing).output)
    said = {"failed": {"type": "ValueError", "message": "no"}}
    assert found == [said if at in failing else at for at in range(ERRORS_PER_READING + 10)]


def test_null_stands_for_one_that_was_skipped_by_hand(bench: Bench) -> None:
    items = items_of(STEP, [1, 2])
    assert items is not None
    plan = copies_plan(OUTER, replace(STEP, on_item_failure=ItemFailure.FAIL), items)
    submission = Submission(copies_params({}, "outer-run/square", 1000), "r1")
    bench.advancer.admit([replace(entrance_of(plan, submission, 1000), items=items.chunks)])
    bench.retry(plan, 0, bench.claim(plan, 0).token)
    bench.advancer.mark([Mark(plan, NodeKey("r1", 0), "r1", NodeState.SKIPPED, b"", "by somebody")])
    bench.run_through(plan, 1, "succeeded", output=pack(2))
    outcome = gathered(bench.reader, Child("r1", plan, "outer-run", "ticket"), NOWHERE, may_block=True)
    assert (outcome.status, unpack(outcome.output)) == (RunState.SUCCEEDED, [None, 2])


def test_a_long_error_is_cut(bench: Bench) -> None:
    [said] = unpack(_gathered(bench, 1, frozenset({0}), message="x" * 5000).output)
    assert len(said["failed"]["message"]) == SAID_LETTERS


def test_too_few_that_have_succeeded_are_no_result(bench: Bench) -> None:
    outcome = _gathered(bench, 4, frozenset({1, 2}), min_success=0.75)
    assert outcome.status is RunState.FAILED
    assert (
        "2 of 4 items have succeeded, and 3 must; the first that has not, 'square[1]': ValueError: no"
        in outcome.message
    )


def test_fewer_items_than_must_succeed_are_no_result(bench: Bench) -> None:
    outcome = _gathered(bench, 2, frozenset(), min_success=3)
    assert outcome.message.endswith("2 of 2 items have succeeded, and 3 must")


@pytest.mark.parametrize("failing", [frozenset[int](), frozenset(range(9))])
def test_a_list_that_is_too_large_is_no_result(bench: Bench, failing: frozenset[int]) -> None:
    outcome = _gathered(bench, 9, failing, most_bytes=8)
    assert outcome.status is RunState.FAILED
    assert (
        "its 9 items gave back has more than 8 bytes together, which limits.max_value_bytes allows" in outcome.message
    )


def test_an_output_that_was_put_aside_becomes_a_part_of_a_list_that_is(bench: Bench, tmp_path: Path) -> None:
    place = place_at(tmp_path)
    stored = place.put("r1", pack("x" * 2000))
    outcome = _gathered(bench, 3, frozenset({0}), large=1, stored=stored, place=large_values(place))
    assert outcome.status is RunState.SUCCEEDED
    place.remove("r1", place.contents("r1"))
    failed = {"failed": {"type": "ValueError", "message": "no"}}
    assert place.value("outer-run", outcome.output) == [failed, "x" * 2000, 2]


def test_a_list_over_the_limit_is_put_aside(bench: Bench, tmp_path: Path) -> None:
    place = place_at(tmp_path)
    outcome = _gathered(bench, 2000, frozenset(), most_bytes=100, place=large_values(place))
    assert read_check(outcome.output)
    assert place.value("outer-run", outcome.output) == [*range(2000)]


def test_a_part_that_is_missing_is_told_with_its_item(bench: Bench, tmp_path: Path) -> None:
    place = large_values(place_at(tmp_path))
    with pytest.raises(PayloadError, match=r"the output of 'square\[1\]': a value of run 'r1' .* is not there"):
        _gathered(bench, 3, frozenset({0}), large=1, most_bytes=4_000_000, place=place)


def test_where_nothing_may_block_what_is_large_is_left(bench: Bench) -> None:
    with pytest.raises(PayloadError, match="the settings of this process do not say where"):
        _gathered(bench, 3, frozenset(), large=1, most_bytes=4_000_000)
    items = items_of(STEP, [*range(3)])
    assert items is not None
    run = Child("r1", copies_plan(OUTER, STEP, items), "outer-run", "ticket")
    with pytest.raises(PutAsideError):
        gathered(bench.reader, run, NOWHERE, may_block=False)
