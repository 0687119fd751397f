"""Large values on a real store: put aside for runs that are to be admitted, and handed to children and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskmesh.dispatch.children.children import BESIDE, FAILED, SUCCEEDED, WAITS, Children
from taskmesh.dispatch.children.parents import Ended, Parents
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.large_params import LargeParams
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import PayloadUnavailableError, TooLargeError
from taskmesh.keeper.payload_sweep import PayloadSweep
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.model.loops import Loop
from taskmesh.model.subflows import Subflow
from taskmesh.observability.tally import Tally
from taskmesh.payload.payloads import Payloads
from taskmesh.store.calls import NodeKey, Word
from taskmesh.store.expected_runs import ExpectedRuns
from taskmesh.wire import pack
from taskmesh.wire.claim_checks import pack_check, read_check, read_params
from tests.contract.store_bench import Bench
from tests.contract.test_children import FamilyBench
from tests.harness.large_values import MAX_BYTES, large_values, place_at

LIMIT = 2000
LARGE = {"rows": [1, 2, 3], "text": "x" * 2000}
TAKES = Plan.of(Flow("takes", "1", (Node("a", "t", {"x": "${params.x}"}),), params=(Param("x"), Param("y"))))
INNER = Flow("inner", "1", (Node("x", "t", {"x": "${params.x}"}),), params=(Param("x"),))
TYPED = Flow("typed", "1", (Node("x", "t"),), params=(Param("x", ParamType.ARRAY),))


@pytest.fixture
def bench(redis_url: str, namespace: str) -> Iterator[FamilyBench]:
    made = FamilyBench(redis_url, namespace)
    yield made
    made.link.close()


@pytest.fixture
def place(tmp_path: Path) -> Payloads:
    return place_at(tmp_path)


def _sweep(bench: Bench, place: Payloads) -> int | None:
    expected = ExpectedRuns.of(bench.store)
    clock: Any = None
    return PayloadSweep(lambda: place, bench.housekeeping, bench.reader, expected, 5.0, Tally(), clock).sweep()


def test_large_parameters_are_put_aside_before_their_run_is_admitted(bench: FamilyBench, place: Payloads) -> None:
    large = LargeParams(bench.store, large_values(place))
    submission = Submission({"x": LARGE, "y": 1}, "r1")
    entrance = entrance_of(TAKES, submission, LIMIT, large)
    assert _sweep(bench, place) == 0
    large.refuse_forgotten([entrance])
    assert bench.advancer.admit([entrance])[0].word is Word.ADMITTED
    large.admitted([entrance])
    assert _sweep(bench, place) == 0

    params = read_params(bench.record().params)
    assert params.here == {"y": 1}
    assert place.value("r1", pack_check(params.aside["x"])) == LARGE
    # The same body is the same run, wherever it lies.
    again = entrance_of(TAKES, submission, LIMIT, large)
    assert again.params != entrance.params
    assert bench.advancer.admit([again])[0].word is Word.SAME
    assert entrance_of(TAKES, submission, 10_000).digest == entrance.digest
    other = entrance_of(TAKES, Submission({"x": [LARGE], "y": 1}, "r1"), LIMIT, large)
    assert bench.advancer.admit([other])[0].word is Word.CONFLICT


def test_what_was_put_aside_for_a_run_that_never_came_goes(bench: FamilyBench, place: Payloads) -> None:
    large = LargeParams(bench.store, large_values(place))
    entrance = entrance_of(TAKES, Submission({"x": LARGE, "y": 1}, "r1"), LIMIT, large)
    assert _sweep(bench, place) == 0
    # As the time does.
    ExpectedRuns.of(bench.store).forget(["r1"])
    assert _sweep(bench, place) == 1
    with pytest.raises(PayloadUnavailableError, match="it took too long to put the parameters of run 'r1' aside"):
        large.refuse_forgotten([entrance])


def test_who_admits_the_same_run_at_the_same_time_is_not_late(bench: FamilyBench, place: Payloads) -> None:
    large = LargeParams(bench.store, large_values(place))
    first, second = (entrance_of(TAKES, Submission({"x": LARGE, "y": 1}, "r1"), LIMIT, large) for _ in range(2))
    bench.advancer.admit([first])
    large.admitted([first])
    large.refuse_forgotten([second])
    assert bench.advancer.admit([second])[0].word is Word.SAME
    assert _sweep(bench, place) == 0


def test_what_is_left_in_the_store_must_fit_and_what_goes_aside_too(bench: FamilyBench, place: Payloads) -> None:
    large = LargeParams(bench.store, large_values(place))
    small = {"x": "x" * 1000, "y": "y" * 1000}
    with pytest.raises(TooLargeError, match=r"limits.max_value_bytes allows 2000"):
        entrance_of(TAKES, Submission(small), LIMIT, large)
    with pytest.raises(TooLargeError, match=f"parameter 'x' of run 'r' has .* payload.max_bytes allows {MAX_BYTES}"):
        entrance_of(TAKES, Submission({"x": "x" * MAX_BYTES, "y": 1}, "r"), LIMIT, large)


def _outer(step: Subflow | Loop) -> Plan:
    nodes = Node("a", "t"), Node("b", "", {"x": "${nodes.a.output}"}, ("a",), step=step)
    return Plan.of(Flow("outer", "1", nodes))


def _beside(bench: FamilyBench, place: Payloads) -> Children:
    large = large_values(place)
    parents = Parents(bench.store, large, put_off=None)
    return Children(bench.store, Plans(bench.reader.flow_body), LIMIT, parents, large)


def _handed(bench: FamilyBench, place: Payloads, plan: Plan, value: Any = LARGE) -> str:
    """Begin the child of the second node, which is given what the first one has put aside; its id."""
    bench.admit(plan)
    bench.run_through(plan, 0, output=place.put("r1", pack(value)))
    taken = bench.take(plan, 1)
    assert bench.take_up(taken)[0].state == BESIDE
    verdict, _ = bench.take_up(taken, _beside(bench, place))
    assert verdict.state == WAITS, verdict.message
    assert bench.wait(taken, verdict.ticket) is Word.RETRYING
    return verdict.ticket


def test_a_child_has_its_own_of_what_it_is_given(bench: FamilyBench, place: Payloads) -> None:
    child = _handed(bench, place, _outer(Subflow("", INNER)))
    place.remove("r1", place.contents("r1"))
    [check] = read_params(bench.record(child).params).aside.values()
    assert place.value(child, pack_check(check)) == LARGE
    assert ExpectedRuns.of(bench.store).among([child]) == set()


def test_a_node_that_looks_by_itself_puts_nothing_aside_again(bench: FamilyBench, place: Payloads) -> None:
    plan = _outer(Subflow("", INNER))
    child = _handed(bench, place, plan)
    before = place.contents(child)
    bench.pass_wait()
    [(word, token)] = [(each.word, each.token) for each in bench.store.wake_nodes([(NodeKey("r1", 1), "default")])]
    assert word is Word.WOKEN
    verdict, _ = bench.take_up(bench.take(plan, 1, token=token), _beside(bench, place))
    assert (verdict.state, verdict.ticket) == (WAITS, child)
    assert place.contents(child) == before


def test_a_place_that_is_away_lets_a_node_wait_for_what_its_child_gave(
    bench: FamilyBench, place: Payloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _outer(Subflow("", INNER))
    child = _handed(bench, place, plan)
    inner = plan.inner_plan(1)
    assert inner is not None
    bench.run_through(inner, 0, run_id=child, output=place.put(child, pack(LARGE)))
    bench.pass_wait()
    [woken] = bench.store.wake_nodes([(NodeKey("r1", 1), "default")])
    taken = bench.take(plan, 1, token=woken.token)

    def copy(*args: Any) -> bytes:
        raise PayloadUnavailableError("away")

    with monkeypatch.context() as away:
        away.setattr(place, "copy", copy)
        assert bench.take_up(taken, _beside(bench, place))[0].state == WAITS
    assert bench.reader.run_fields("r1", ["child:1"]) == [None]
    assert bench.take_up(taken, _beside(bench, place))[0].state == WAITS
    [heard] = bench.reader.run_fields("r1", ["child:1"])
    assert heard is not None


def test_a_parameter_of_a_type_is_looked_at(bench: FamilyBench, place: Payloads) -> None:
    child = _handed(bench, place, _outer(Subflow("", TYPED)), ["x" * 3000])
    [check] = read_params(bench.record(child).params).aside.values()
    assert place.value(child, pack_check(check)) == ["x" * 3000]


def test_what_says_what_belongs_together_stays(bench: FamilyBench, place: Payloads) -> None:
    inner = replace(INNER, shard_by="params.x")
    child = _handed(bench, place, _outer(Subflow("", inner)), "key" * 400)
    assert read_params(bench.record(child).params).aside == {}
    [shard_key] = bench.reader.run_fields(child, ["shard_key"])
    assert shard_key == ("key" * 400)[:128].encode()


def test_one_of_another_type_is_refused(bench: FamilyBench, place: Payloads) -> None:
    plan = _outer(Subflow("", TYPED))
    bench.admit(plan)
    bench.run_through(plan, 0, output=place.put("r1", pack(LARGE)))
    verdict, _ = bench.take_up(bench.take(plan, 1), _beside(bench, place))
    assert (verdict.state, verdict.is_final) == (FAILED, True)
    assert "must be an array" in verdict.message


def test_iterations_get_what_the_last_one_gave(bench: FamilyBench, place: Payloads) -> None:
    step = Loop("size(output.rows) > 3", 3, inline=INNER, last_as="x")
    plan = Plan.of(Flow("outer", "1", (Node("b", "", step=step),)))
    bench.admit(plan)
    taken = bench.take(plan)
    first, _ = bench.take_up(taken)
    assert bench.wait(taken, first.ticket) is Word.RETRYING
    inner = plan.inner_plan(0)
    assert inner is not None
    bench.run_through(inner, 0, run_id=first.ticket, output=place.put(first.ticket, pack(LARGE)))
    # Whoever may not wait has left it in the outbox.
    [told] = Parents(bench.store, large_values(place), put_off=None).tell([Ended(first.ticket, inner)])
    place.remove(first.ticket, place.contents(first.ticket))
    taken = bench.take(plan, token=told.token)  # type: ignore[union-attr]
    assert bench.take_up(taken)[0].state == BESIDE
    second, _ = bench.take_up(taken, _beside(bench, place))
    assert second.state == WAITS, second.message
    [check] = read_params(bench.record(second.ticket).params).aside.values()
    assert place.value(second.ticket, pack_check(check)) == LARGE

    assert bench.wait(taken, second.ticket) is Word.RETRYING
    larger = {"rows": [1, 2, 3, 4], "text": "x" * 2000}
    bench.run_through(inner, 0, run_id=second.ticket, output=place.put(second.ticket, pack(larger)))
    [told] = Parents(bench.store, large_values(place), put_off=None).tell([Ended(second.ticket, inner)])
    verdict, _ = bench.take_up(bench.take(plan, token=told.token), _beside(bench, place))  # type: ignore[union-attr]
    assert verdict.state == SUCCEEDED
    assert read_check(verdict.output)
    assert place.value("r1", verdict.output) == larger


def test_a_telling_without_a_place_says_what_is_missing(bench: FamilyBench, place: Payloads) -> None:
    plan = Plan.of(Flow("outer", "1", (Node("b", "", {"x": 1}, step=Subflow("", INNER)),)))
    child = bench.begin(plan)
    inner = plan.inner_plan(0)
    assert inner is not None
    bench.run_through(inner, 0, run_id=child, output=place.put(child, pack(LARGE)))
    [told] = Parents(bench.store, put_off=None).tell([Ended(child, inner)])
    verdict, _ = bench.take_up(bench.take(plan, token=told.token))  # type: ignore[union-attr]
    assert verdict.state == FAILED
    assert "the settings of this process do not say where (payload.url)" in verdict.message
