"""What child runs are told, and give back: what is said of the request, and outputs that were put aside."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskmesh.dispatch.children.births import Birth, ChildFlow, entrance_of_child
from taskmesh.dispatch.children.outcomes import LATER, outcomes_of
from taskmesh.dispatch.maps.gathering import Child
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow, Node, Param
from taskmesh.model.run_context import RunContext
from taskmesh.model.states import RunState
from taskmesh.model.validation import complete
from taskmesh.payload.large_values import NOWHERE
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, Params, pack_check, read_check
from taskmesh.wire.run_contexts import encode_context
from tests.harness.large_values import large_values, place_at

STORED: dict[str, dict[str, bytes]] = {
    "small": {"context": encode_context(RunContext(tenant="acme")), "output:0": pack(1)},
    "large": {"output:0": pack_check(ClaimCheck(b"n" * 16, 2_000_000, b"d" * 32))},
}


class Kept:
    """What the store has of two runs that succeeded."""

    def fields_of_runs(self, run_ids: list[str], fields: tuple[str, ...]) -> list[list[bytes | None]]:
        return [[b"succeeded" if field == "status" else None for field in fields] for _ in run_ids]

    def picked(self, wanted: list[tuple[str, list[str]]]) -> list[list[bytes | None]]:
        return [[STORED[run_id].get(field) for field in fields] for run_id, fields in wanted]


def test_one_that_cannot_be_read_fails_its_own_node_and_no_other(tmp_path: Path) -> None:
    result = {"output": "${nodes.a.output}", "tenant": "${run.tenant}"}
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"),), result=result)))
    reader: Any = Kept()
    children = [Child(run_id, plan, "parent", run_id) for run_id in ("large", "small")]
    large, small = outcomes_of(reader, children, large_values(place_at(tmp_path)), may_block=True)
    assert isinstance(large, Outcome)
    assert large.status is RunState.FAILED
    assert large.message.startswith("run large has no result: a value of run 'large' (2000000 bytes")
    assert isinstance(small, Outcome)
    assert unpack(small.output) == {"output": 1, "tenant": "acme"}
    later, small = outcomes_of(reader, children, NOWHERE, may_block=False)
    assert later is LATER
    assert isinstance(small, Outcome)


@pytest.mark.parametrize(
    ("result", "expected"),
    [(None, ["x" * 2000]), ("${nodes.a.output}", ["x" * 2000]), ("${nodes.a.output.0}", "x" * 2000)],
)
def test_what_is_large_of_a_result_is_put_aside_for_the_parent(tmp_path: Path, result: Any, expected: Any) -> None:
    place = place_at(tmp_path)
    STORED["child"] = {"output:0": place.put("child", pack(["x" * 2000]))}
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"),), result=result)))
    reader: Any = Kept()
    [found] = outcomes_of(reader, [Child("child", plan, "parent", "t")], large_values(place), may_block=True)
    assert isinstance(found, Outcome)
    place.remove("child", place.contents("child"))
    assert len(found.output) < 128
    assert place.value("parent", found.output) == expected


def test_a_result_that_is_large_though_its_parts_are_small_is_put_aside_too(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    STORED["child"] = {"output:0": pack("x" * 600), "output:1": pack("y" * 600)}
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"), Node("b", "t")))))
    reader: Any = Kept()
    children = [Child("child", plan, "parent", "t")]
    assert outcomes_of(reader, children, large_values(place), may_block=False) == [LATER]
    [found] = outcomes_of(reader, children, large_values(place), may_block=True)
    assert isinstance(found, Outcome)
    assert place.value("parent", found.output) == {"a": "x" * 600, "b": "y" * 600}
    [whole] = outcomes_of(reader, children, NOWHERE, may_block=False)
    assert isinstance(whole, Outcome)
    assert len(whole.output) > 1200


def test_what_is_small_of_what_is_large_is_given_as_it_is(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    params = Params({"p": 1}, {"q": cast("ClaimCheck", read_check(place.put("child", pack("q" * 2000))))})
    STORED["child"] = {"params": params.packed(), "output:0": place.put("child", pack({"n": 7, "x": "x" * 2000}))}
    result = {"n": "${nodes.a.output.n}", "p": "${params.p}"}
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"),), params=(Param("p"), Param("q")), result=result)))
    reader: Any = Kept()
    [found] = outcomes_of(reader, [Child("child", plan, "parent", "t")], large_values(place), may_block=True)
    assert isinstance(found, Outcome)
    assert unpack(found.output) == {"n": 7, "p": 1}
    assert place.contents("parent") == []


@pytest.mark.parametrize("context", [b"", encode_context(RunContext(tenant="acme"))])
def test_a_child_serves_the_request_of_its_parent(context: bytes) -> None:
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"),))))
    around: Any = SimpleNamespace(parent=None, tags={}, pins=b"pins", child_id=lambda key, turn: f"{key.run_id}-{turn}")
    birth = Birth(plan, NodeKey("r", 0), "r", pack({}), around, None, context=context)
    entrance = entrance_of_child(birth, ChildFlow(plan, Params({})), 1000)
    assert entrance.further[4:] == (("context", context) if context else ())
