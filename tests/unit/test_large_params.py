"""Parameters of which some were put aside: how they are stored, and who is given what of them."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from taskmesh.dispatch.deferring import Arguments, resolved, used_params
from taskmesh.dispatch.gates import RUN_IT
from taskmesh.dispatch.maps.copies import copies_params, copies_plan
from taskmesh.dispatch.maps.items import items_of
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import PayloadError, WireError
from taskmesh.model.flow import ALL_PARAMS, Compensation, Flow, Node, Param
from taskmesh.model.hooks import Hook
from taskmesh.model.mapping import Map, mapped
from taskmesh.model.references import compile_value
from taskmesh.model.subflows import Subflow
from taskmesh.model.triggers import Trigger
from taskmesh.model.validation import complete
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, Params, is_parted, pack_check, read_check, read_params
from taskmesh.wire.codec import PARTED, PutAsideError

CHECK = ClaimCheck(b"n" * 16, 2_000_000, b"d" * 32)
STORED = pack_check(CHECK)
PARAMS = Params({"small": 7}, {"large": CHECK})
LARGE = {"rows": [1, 2, 3]}


def _fetched(stored: bytes) -> Any:
    return LARGE if read_check(stored) == CHECK else unpack(stored)


def _plan(*nodes: Node, **more: Any) -> Plan:
    params = (Param("small", required=False), Param("large", required=False))
    return Plan.of(complete(Flow("f", "1", nodes, params=params, **more)))


@pytest.mark.parametrize("params", [PARAMS, Params({"a": 1}), Params({}, {"large": CHECK})])
def test_they_come_back(params: Params) -> None:
    assert read_params(params.packed()) == params
    assert is_parted(params.packed()) == bool(params.aside)
    if params.aside:
        with pytest.raises(PutAsideError):
            unpack(params.packed())


def test_there_may_be_none() -> None:
    assert read_params(None) == Params({})


@pytest.mark.parametrize("fields", [[], [{}], [{}, {"a": 1}], [1, {}], [{}, {"a": [b"n", 1, b"d"]}], 7])
def test_others_are_refused(fields: Any) -> None:
    with pytest.raises(WireError):
        read_params(pack(msgpack.ExtType(PARTED, pack(fields))))


def test_no_parameters_of_a_user_are_taken_for_them() -> None:
    packed = Params({"a": msgpack.ExtType(PARTED, b"x")}).packed()
    assert not is_parted(packed)
    with pytest.raises(WireError):
        read_params(packed)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"x": "${params.small}"}, {"x": 7}),
        ({"x": "${params.large.rows.0}", "y": "${params.small}"}, {"x": 1, "y": 7}),
        ({"x": "${params}"}, {"x": {"small": 7, "large": LARGE}}),
        (ALL_PARAMS, {"small": 7, "large": LARGE}),
    ],
)
def test_a_task_is_given_them(args: Any, expected: Any) -> None:
    plan = _plan(Node("a", "t", args))
    assert resolved(plan.inputs(0).arguments([PARAMS.packed()]), _fetched) == expected


def test_all_of_them_can_be_a_part_of_an_argument() -> None:
    plan = _plan(Node("a", "t", {"x": {"given": "${params}"}}))
    assert unpack(plan.inputs(0).arguments([pack({"small": 7})])) == {"x": {"given": {"small": 7}}}


def test_what_is_not_asked_for_is_not_fetched() -> None:
    plan = _plan(Node("a", "t", {"x": "${params.small}"}))
    packed = plan.inputs(0).arguments([PARAMS.packed()])
    with pytest.raises(PutAsideError):
        unpack(packed)

    def fetch(stored: bytes) -> Any:
        raise AssertionError("nothing is to be fetched")

    assert resolved(packed, fetch) == {"x": 7}


def test_one_that_is_missing_is_named() -> None:
    plan = _plan(Node("a", "t", {"x": "${params.large}"}))

    def fetch(stored: bytes) -> Any:
        raise PayloadError("it is not there")

    with pytest.raises(PayloadError, match="parameter 'large': it is not there"):
        resolved(plan.inputs(0).arguments([PARAMS.packed()]), fetch)


def test_an_undo_and_a_hook_are_given_them() -> None:
    plan = _plan(
        Node("a", "t", {"x": "${params.large.rows}"}, compensation=Compensation("u")),
        Node("flow:finally", "t", {"x": "${params.large.rows.1}"}, trigger=Trigger(hook=Hook.FINALLY)),
    )
    undo = plan.inputs(plan.undo_of(0)).arguments([PARAMS.packed(), pack("out")])
    assert resolved(undo, _fetched) == {"x": [1, 2, 3], "result": "out"}
    hook = plan.inputs(1)
    values = [PARAMS.packed() if field == "params" else None for field in hook.fields]
    assert resolved(hook.arguments(values), _fetched) == {"x": 2}


def test_conditions_read_them_where_they_are_fetched() -> None:
    plan = _plan(Node("a", "t", when="params.large.rows[1] == 2 && params.small == 7"))
    gate = plan.inputs(0).gate
    assert gate is not None
    with pytest.raises(PutAsideError):
        gate.decide([PARAMS.packed()])
    assert gate.decide([PARAMS.packed()], _fetched) == RUN_IT
    unasked = _plan(Node("a", "t", when="params.small == 7")).inputs(0).gate
    assert unasked is not None
    assert unasked.decide([PARAMS.packed()]) == RUN_IT


def test_whole_ones_are_handed_on_as_they_are_and_parts_are_fetched() -> None:
    args = {"a": "${nodes.a.output}", "b": "${params.large}", "c": "${params.large.rows.2}", "d": "see ${params.small}"}
    plan = _plan(Node("a", "t"), Node("b", "t", args))
    arguments = Arguments(plan.inputs(1).arguments([PARAMS.packed(), STORED]), _fetched)
    assert arguments.handed_on() == Params({"c": 3, "d": "see 7"}, {"a": CHECK, "b": CHECK})
    assert arguments.one("c") == 3
    assert arguments.one("none") is None
    everything = Arguments(PARAMS.packed(), _fetched)
    assert everything.handed_on() == PARAMS


def test_what_all_items_of_a_map_are_given_stays_aside() -> None:
    body = Node("b", "t", {"x": "${item}", "all": "${nodes.a.output}", "row": "${nodes.a.output.rows.0}"})
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"), mapped(body, Map(body), "${nodes.a.output.rows}")))))
    inputs = plan.inputs(1)
    values = [STORED if field == "output:0" else None for field in inputs.fields]
    arguments = Arguments(inputs.arguments(values), _fetched)
    assert arguments.one("over") == [1, 2, 3]
    given = arguments.handed_on("given")
    assert given == Params({"nodes.a.output.rows.0": 1}, {"nodes.a.output": CHECK})

    items = items_of(Map(body), [10, 20])
    assert items is not None
    copies = copies_plan(plan.flow, Map(body), items)
    params = Params(copies_params(given.here, "r/b", 1000), given.aside).packed()
    packed = copies.inputs(1).arguments([params, items.chunks[0]])
    assert resolved(packed, _fetched) == {"x": 20, "all": LARGE, "row": 1}


def test_a_sub_flow_for_each_item_is_handed_it_on() -> None:
    inner = Flow("inner", "1", (Node("x", "t", {"x": "${params.x}"}),), params=(Param("x"), Param("all")))
    body = Node("b", "", {"x": "${item}", "all": "${nodes.a.output}"}, step=Subflow("", inner))
    step = Map(body)
    plan = Plan.of(complete(Flow("f", "1", (Node("a", "t"), mapped(body, step, [1, 2])))))
    step_of_plan = plan.node(1).step
    assert isinstance(step_of_plan, Map)
    items = items_of(step_of_plan, [10, 20])
    assert items is not None
    copies = copies_plan(plan.flow, step_of_plan, items)
    params = Params(copies_params({}, "r/b", 1000), {"nodes.a.output": CHECK}).packed()
    inputs = copies.inputs(1)
    values = [params if field == "params" else items.chunks[0] if "items" in field else None for field in inputs.fields]
    arguments = Arguments(inputs.arguments(values), _fetched)
    assert arguments.handed_on() == Params({"x": 20}, {"all": CHECK})


def test_a_slice_has_the_same_key_wherever_the_parameters_are() -> None:
    body = Node("b", "t", {"x": "${item}", "all": "${nodes.a.output}"})
    step = Map(body, slice_size=2)
    items = items_of(step, [1, 2])
    assert items is not None
    inputs = copies_plan(Flow("f", "1", ()), step, items).inputs(0)
    params = copies_params({}, "r/b", 1000)
    parted = Params(params, {"nodes.a.output": CHECK}).packed()
    keys = {inputs.idempotency_key([each, items.chunks[0]]) for each in (pack(params), parted)}  # type: ignore[attr-defined]
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${params.small}", {"small": 7}),
        ("${params.large.rows}", {"small": 7, "large": LARGE}),
        ("${params}", {"small": 7, "large": LARGE}),
    ],
)
def test_a_template_gets_those_that_it_needs(value: str, expected: Any) -> None:
    assert used_params(PARAMS, compile_value(value), _fetched) == expected
