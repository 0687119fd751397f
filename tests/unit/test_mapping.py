"""Mapped nodes: how they are said, in both faces; what becomes of their lists; and the copies that they are run as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from taskmesh.dispatch.maps.copies import copies_params, copies_plan
from taskmesh.dispatch.maps.inputs import ItemArguments, ItemInputs
from taskmesh.dispatch.maps.items import CHUNK_BYTES, CHUNK_ITEMS, Items, items_of
from taskmesh.dispatch.maps.slices import sliced
from taskmesh.dispatch.plan import BEFORE_FIRST, EDGES_PER_SCRIPT, Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import FlowError, TooLargeError, UnresolvedReferenceError, UsageError
from taskmesh.flows import load_flow
from taskmesh.flows.dumping import dump_flow
from taskmesh.model.flow import Copies, Flow, Node, OnFailure
from taskmesh.model.mapping import MAX_ITEMS, ItemFailure, Map, mapped
from taskmesh.model.subflows import Subflow, references_of, tasks_in
from taskmesh.tasks.flow import FlowDefinition
from taskmesh.tasks.task import make_task
from taskmesh.wire import pack, unpack
from taskmesh.wire.flows import decode_flow, encode_flow

BODY = Node("square", "t", {"value": "${item}"})
STEP = Map(BODY)


def listing(count: int) -> list[int]:
    return [*range(count)]


def square(value: int, factor: int = 1) -> int:
    return factor * value * value


LISTING, SQUARE = make_task(listing), make_task(square)


def _defined(function: Callable[..., Any]) -> FlowDefinition[...]:
    return FlowDefinition(function, "f", "1", OnFailure.FAIL_FAST, "run")


def _yaml(node: str) -> Flow:
    text = (
        f"flow: f\nparams: {{n: integer}}\nnodes:\n  listing: {{task: t, args: {{count: '${{params.n}}'}}}}\n  {node}\n"
    )
    return load_flow(text, "f.yaml")


def _problems(node: str) -> str:
    with pytest.raises(FlowError) as caught:
        _yaml(node)
    return str(caught.value)


def _items(values: Any, **rules: Any) -> Items:
    items = items_of(replace(STEP, **rules), values)
    assert items is not None
    return items


def _all(items: Items) -> list[Any]:
    return [each for chunk in items.chunks for each in unpack(chunk)]


# How they are said.


def test_both_faces_say_the_same() -> None:
    @_defined
    def flow(n: int) -> Any:
        items = LISTING(n)
        return SQUARE.map(items, factor=n).max_in_flight(3).on_item_failure("continue", min_success=0.9)

    body = Node("square", SQUARE.name, {"value": "${item}", "factor": "${params.n}"})
    step = Map(body, most_at_once=3, on_item_failure=ItemFailure.CONTINUE, min_success=0.9)
    expected = replace(mapped(body, step, "${nodes.listing.output}"), needs=("listing",))
    assert flow.compile().nodes[1] == expected
    text = (
        "{map: '${nodes.listing.output}', task: '" + SQUARE.name + "', args: {value: '${item}', factor: '${params.n}'},"
    )
    written = _yaml(f"square: {text} max_in_flight: 3, on_item_failure: continue, min_success: 0.9}}")
    assert written.nodes[1] == expected


@pytest.mark.parametrize(
    "node",
    [
        "a: {map: '${nodes.listing.output}', task: t, args: {v: '${item}'}}",
        "a: {map: [1, 2], task: t, args: {v: '${item}', at: '${index}', n: '${params.n}'}, slice: 5, slice_by: id}",
        "a: {map: {x: [1], y: '${nodes.listing.output}'}, task: t, args: {v: '${item.x}'}, retry: {max_attempts: 3}}",
        "a: {map: [1], task: t, on_item_failure: continue, min_success: 2, max_in_flight: 7, timeout: 5, pool: io}",
        "a: {map: [1], task: t, on_item_failure: continue, min_success: 1.0, needs: [listing], rule: all_done}",
        "a: {map: [a], type: http, with: {url: 'https://a.test/${item}', json: '${params.n}'}, timeout: 3}",
        "a: {map: [1], flow: other@3, args: {v: '${item}', n: '${params.n}'}, retry: {max_attempts: 3}, timeout: 60}",
        "a: {map: [[1]], flow: {params: {v: array}, nodes: {b: {map: '${params.v}', task: t}}}, args: {v: '${item}'}}",
    ],
)
def test_a_mapped_node_is_read_back_from_bytes_and_from_text(node: str) -> None:
    flow = _yaml(node)
    assert decode_flow(encode_flow(flow)) == flow
    assert load_flow(dump_flow(flow), "again.yaml") == flow
    assert decode_flow(encode_flow(flow)).nodes[-1].step == flow.nodes[-1].step


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("a: {map: 3, task: t}", "5:12: node 'a': map must be a reference to a list, a list, or a mapping of names"),
        ("a: {map: '', task: t}", "a mapping of names to lists, not '' (string)"),
        ("a: {map: {}, task: t}", "a mapping of names to lists, not {} (object)"),
        ("a: {map: 'n ${params.n}', task: t}", "5:12: node 'a': map must be a reference to a list"),
        ("a: {map: {x: [1], y: 3}, task: t}", "5:12: node 'a': map must be a reference to a list"),
        ("a: {map: '${nodes.b.output}', task: t}", "5:12: node 'a': it refers to 'b', which is no node of this flow"),
        ("a: {map: [1], task: t, args: {v: '${itm}'}}", "'${itm}' is not a reference; write ${item}, ${index}"),
        ("a: {map: [1], task: t, args: {v: '${params.m}'}}", "it refers to params.m, which the flow does not declare"),
        ("a: {map: [1], task: t, args: '${params}'}", "args of a map must name what each argument is"),
        ("a: {map: [1], args: {v: 1}}", "the key 'task' is missing"),
        ("a: {map: [1], task: t, slice: 0}", f"slice must be a whole number from 1 to {MAX_ITEMS}, not '0'"),
        ("a: {map: [1], task: t, slice: true}", "slice must be a whole number"),
        ("a: {map: [1], task: t, slice_by: id}", "slice_by needs a 'slice' beside it"),
        ("a: {map: [1], task: t, slice: 2, args: {v: '${item.x}'}}", "so take ${item}, not ${item.x}"),
        ("a: {map: [1], task: t, max_in_flight: -1}", "max_in_flight must be a whole number from 1"),
        ("a: {map: [1], task: t, on_item_failure: contniue}", "did you mean 'continue'?"),
        ("a: {map: [1], task: t, min_success: 0.5}", "min_success needs on_item_failure: continue"),
        ("a: {map: [1], task: t, on_item_failure: continue, min_success: 1.5}", "a part of all between 0.0 and 1.0"),
        ("a: {map: [1], task: t, on_item_failure: continue, min_success: .nan}", "a part of all between 0.0 and 1.0"),
        ("a: {map: [1], task: t, on_item_failure: continue, min_success: many}", "min_success must be a number"),
        ("a: {map: [1], flow: other, task: t}", "'task' belongs to a task or a node type, and each item is a run of a"),
        (
            "a: {map: [1], flow: other, type: http}",
            "'type' belongs to a task or a node type, and each item is a run of a",
        ),
        ("a: {map: [1], task: t, type: http}", "5:17: node 'a': 'task' and 'type' do not go together"),
        ("a: {map: [1], task: t, with: {v: 1}}", "5:26: node 'a': 'with' needs a 'type' beside it; a task has 'args'"),
        ("a: {map: [1], type: http, with: {url: '${itm}'}}", "'${itm}' is not a reference; write ${item}"),
        ("a: {map: [1], flow: other, args: {v: '${itm}'}}", "'${itm}' is not a reference; write ${item}"),
        ("a: {map: [1], flow: 'other@x'}", "other@x"),
        ("a: {map: [1], flow: {nodes: {b: {task: t}}}, args: {v: '${item}'}}", "its flow has no parameter 'v'"),
        ("a: {task: t, args: {v: '${item}'}}", "'${item}' is not a reference; write ${params.NAME}"),
    ],
)
def test_what_is_wrong_is_said(node: str, problem: str) -> None:
    assert problem in _problems(node)


def test_a_task_is_mapped_only_inside_of_a_flow() -> None:
    with pytest.raises(UsageError, match="only inside of a flow's function"):
        SQUARE.map([1])


def test_a_task_without_a_free_parameter_cannot_get_the_item() -> None:
    @_defined
    def flow() -> Any:
        return SQUARE.map([1], value=1, factor=2)

    with pytest.raises(UsageError, match="has no parameter left that could get the item"):
        flow.compile()


def test_names_with_lists_are_parameters() -> None:
    @_defined
    def flow() -> Any:
        return SQUARE.map({"value": [1, 2], "factor": [3]})

    [node] = flow.compile().nodes
    assert isinstance(node.step, Map)
    assert node.step.body.args == {"value": "${item.value}", "factor": "${item.factor}"}


def test_a_flow_is_mapped_as_a_task_is() -> None:
    @_defined
    def flow(n: int) -> Any:
        return _defined(_row).map([[1, 2]], factor=n)

    [node] = flow.compile().nodes
    assert isinstance(node.step, Map)
    assert node.step.body.args == {"values": "${item}", "factor": "${params.n}"}
    assert isinstance(node.step.body.step, Subflow)
    assert tasks_in(flow.compile()) == {SQUARE.name}


def test_a_registered_flow_that_is_mapped_is_found() -> None:
    assert [*references_of(_yaml("a: {map: [1], flow: other@3, args: {v: '${item}'}}"))] == ["other@3"]


def _row(values: list[int], factor: int) -> Any:
    return SQUARE.map(values, factor=factor)


def test_a_flow_is_mapped_only_inside_of_another() -> None:
    with pytest.raises(UsageError, match="can be mapped in the function of another flow alone"):
        _defined(_row).map([1])


def test_a_text_of_a_flow_function_stands_for_itself() -> None:
    @_defined
    def flow() -> Any:
        return SQUARE.map(["${item}"], factor="${index}")

    plan = Plan.of(flow.compile())
    step = plan.flow.nodes[0].step
    assert isinstance(step, Map)
    over = plan.graph.resolve_arguments(0, {}, {})["over"]
    assert over == ["${item}"]
    [argument] = _arguments(step, over)
    assert argument == {"value": "${item}", "factor": "${index}"}


@pytest.mark.parametrize("over", ["abc", "${item}", 3, None, {}, {"value": 3}, range(3), {1, 2}])
def test_what_can_be_no_list_is_refused_in_python_too(over: Any) -> None:
    @_defined
    def flow() -> Any:
        return SQUARE.map(over, value=1) if isinstance(over, dict) and not over else SQUARE.map(over)

    with pytest.raises(FlowError, match="node 'square': map must be a reference to a list, a list, or a mapping"):
        flow.compile()


@pytest.mark.parametrize("policy", ["stop", ""])
def test_another_policy_is_refused(policy: str) -> None:
    @_defined
    def flow() -> Any:
        return SQUARE.map([1]).on_item_failure(policy)

    with pytest.raises(UsageError, match="it is fail or continue"):
        flow.compile()


@pytest.mark.parametrize("value", [0, -1, 2.5, True, MAX_ITEMS + 1])
@pytest.mark.parametrize("rule", ["slices", "max_in_flight"])
def test_what_is_no_number_of_items_is_refused(rule: str, value: Any) -> None:
    @_defined
    def flow() -> Any:
        return getattr(SQUARE.map([1]), rule)(value)

    with pytest.raises(UsageError, match=rf"{rule}\(\): it must be a whole number from 1 to {MAX_ITEMS}"):
        flow.compile()


@pytest.mark.parametrize("value", ["0.9", None, True])
def test_a_least_success_that_is_no_number_is_refused(value: Any) -> None:
    @_defined
    def flow() -> Any:
        return SQUARE.map([1]).on_item_failure("continue", min_success=value)

    with pytest.raises(UsageError, match="min_success must be a number"):
        flow.compile()


@pytest.mark.parametrize(
    ("rules", "count", "needed"),
    [
        ({}, 10, 10),
        ({"on_item_failure": ItemFailure.CONTINUE}, 10, 0),
        ({"on_item_failure": ItemFailure.CONTINUE, "min_success": 3}, 10, 3),
        ({"on_item_failure": ItemFailure.CONTINUE, "min_success": 0.9}, 100, 90),
        ({"on_item_failure": ItemFailure.CONTINUE, "min_success": 0.91}, 10, 10),
        ({"on_item_failure": ItemFailure.CONTINUE, "min_success": 1.0}, 7, 7),
    ],
)
def test_so_many_items_must_succeed(rules: dict[str, Any], count: int, needed: int) -> None:
    assert replace(STEP, **rules).needed(count) == needed


# What becomes of a list.


@pytest.mark.parametrize("count", [1, CHUNK_ITEMS, CHUNK_ITEMS + 1, 1000])
def test_small_items_stand_together(count: int) -> None:
    items = _items([*range(count)])
    assert _all(items) == [*range(count)]
    assert len(items.chunks) == items.copies.chunks == -(-count // CHUNK_ITEMS)


def test_large_items_stand_alone() -> None:
    values = ["x" * CHUNK_BYTES] * 3
    items = _items(values)
    assert [unpack(chunk) for chunk in items.chunks] == [[each] for each in values]


def test_without_items_there_is_nothing_to_run() -> None:
    assert items_of(STEP, []) is None
    assert items_of(STEP, {"a": [1, 2], "b": []}) is None


def test_a_product_takes_one_from_each_list() -> None:
    assert _all(_items({"a": [1, 2], "b": ["x", "y"]})) == [
        *({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}),
    ]


@pytest.mark.parametrize(
    ("over", "error", "words"),
    [
        (7, UsageError, "the value of 'map' must be a list, not integer"),
        ({"a": [1], "b": "text"}, UsageError, "'b' of 'map' must be a list, not string"),
        ({}, UsageError, "must be a list, or names with lists; it is an object without any"),
        ([0] * (MAX_ITEMS + 1), TooLargeError, f"the map has {MAX_ITEMS + 1} items"),
        ({"a": [0] * 1000, "b": [0] * 1000}, TooLargeError, "the map has 1000000 items"),
    ],
)
def test_what_is_no_list_of_items_is_refused(over: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        items_of(STEP, over)


# Slices.


def test_no_slice_has_more_items_than_it_may() -> None:
    slices = sliced([*range(10_000)], 100, "")
    assert sorted(each for one in slices for each in one) == [*range(10_000)]
    assert all(0 < len(each) <= 100 for each in slices)
    assert len(slices) < 300


def test_an_item_stays_in_its_slice_when_others_are_added() -> None:
    before = sliced([*range(10_000)], 100, "")
    after = sliced([*range(10_001)], 100, "")
    assert sum(each not in after for each in before) <= 1


def test_equal_items_that_are_too_many_are_cut_in_their_order() -> None:
    items = [{"id": 1, "at": at} for at in range(5)]
    assert sliced(items, 2, "id") == [items[:2], items[2:4], items[4:]]


def test_the_order_of_keys_does_not_decide() -> None:
    one, other = [{"a": 1, "b": at} for at in range(50)], [{"b": at, "a": 1} for at in range(50)]
    assert sliced(one, 5, "") == sliced(other, 5, "")


@pytest.mark.parametrize(("item", "words"), [({"name": 1}, "an item has no such entry"), (7, "an item is no object")])
def test_an_item_without_the_entry_is_refused(item: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sliced([item], 5, "id")


def test_a_slice_is_known_by_what_is_in_it() -> None:
    keys = []
    for values in ([*range(100)], [*range(101)]):
        items = _items(values, slice_size=10)
        params = pack(copies_params({}, "run/square", 1000))
        of_all = ItemArguments(items.copies)
        inputs = [ItemInputs(of_all, place) for place in range(len(items.chunks))]
        found = {each.idempotency_key([params, chunk]) for each, chunk in zip(inputs, items.chunks, strict=True)}
        assert len(found) == len(items.chunks)
        assert all(key.startswith("run/square/") for key in found)
        keys.append(found)
    assert len(keys[0] - keys[1]) <= 1


def test_an_item_that_is_no_slice_is_known_by_its_run_and_name() -> None:
    items = _items([1])
    assert ItemInputs(ItemArguments(items.copies), 0).idempotency_key([items.chunks[0]]) == ""


# What a copy is called with.


def _arguments(step: Map, over: Any, given: dict[str, Any] | None = None) -> list[Any]:
    items = items_of(step, over)
    assert items is not None
    plan = copies_plan(Flow("f", "1", ()), step, items)
    stored = {"params": pack(copies_params(given or {}, "r/n", 1000))}
    stored |= {f"items:{at}": chunk for at, chunk in enumerate(items.chunks)}
    inputs = [plan.inputs(place) for place in range(items.copies.total)]
    return [unpack(each.arguments([stored[field] for field in each.fields])) for each in inputs]


def test_each_copy_gets_its_item_its_place_and_what_all_are_given() -> None:
    args = {"text": "${item.name}-${index}", "n": "${params.n}", "part": "${nodes.a.output.x}"}
    given = {"params.n": 5, "nodes.a.output.x": [1]}
    found = _arguments(Map(Node("a", "t", args)), [{"name": at} for at in range(70)], given)
    assert found[69] == {"text": "69-69", "n": 5, "part": [1]}


def test_an_item_without_the_part_that_is_asked_for_is_refused() -> None:
    with pytest.raises(UnresolvedReferenceError, match=r"\$\{item\} is a list of 1"):
        _arguments(Map(Node("a", "t", {"v": "${item.name}"})), [[1]])


def test_an_item_that_was_lost_is_no_argument() -> None:
    with pytest.raises(LookupError, match="the item is not in the store any more"):
        ItemInputs(ItemArguments(Copies(BODY, 1)), 0).arguments([None])


# Copies.

MANY = Copies(BODY, 100_000, per_chunk=64)


def test_a_flow_of_copies_is_small_and_read_back() -> None:
    flow = copies_plan(Flow("f", "1", ()), STEP, Items(MANY, ())).flow
    body = encode_flow(flow)
    assert len(body) < 300
    assert decode_flow(body) == flow


def test_copies_have_names_and_places() -> None:
    graph = Plan.of(Flow("f", "1", MANY)).graph
    assert (graph.names[7], graph.index["square[7]"]) == ("square[7]", 7)
    assert graph.names[-1] == MANY[-1].name == "square[99999]"
    assert [each.name for each in MANY[2:4]] == ["square[2]", "square[3]"]
    assert len([*graph.index]) == len(graph.index) == 100_000
    for name in ("square", "square[100000]", "square[-1]", "square[07]", "square[7", "[7]", "square[²]", "other[7]"):
        assert name not in graph.index


def test_a_plan_of_copies_tells_the_first_in_slices() -> None:
    plan = Plan.of(Flow("f", "1", MANY))
    chunks = plan.chunks(BEFORE_FIRST)
    assert len(chunks) == 100_000 // EDGES_PER_SCRIPT
    last = chunks[len(chunks) - 1]
    assert (last.start, last.last, len(unpack(last.packed))) == (100_000 - EDGES_PER_SCRIPT, True, 4 * EDGES_PER_SCRIPT)
    assert [each.last for each in plan.chunks(5)] == [True]


def test_with_a_bound_only_the_first_begin() -> None:
    plan = Plan.of(Flow("f", "1", replace(MANY, most_at_once=3)))
    assert [*plan.dependents(BEFORE_FIRST)] == [0, 1, 2]
    assert (unpack(plan.bound), Plan.of(Flow("f", "1", MANY)).bound) == ([3, 100_000], b"")


def test_flows_of_copies_drive_no_others_out() -> None:
    plans = Plans(lambda hash_, run_id: None, capacity=2)
    other = Plan.of(Flow("f", "1", (BODY,)))
    plans.add(other)
    copied = [Plan.of(Flow("f", "1", replace(MANY, total=total))) for total in range(1, 5)]
    for each in copied:
        plans.add(each)
    assert plans.get(other.hash, "r") is other
    assert [plans.get(each.hash, "r") for each in copied] == [None, None, *copied[2:]]


def test_the_result_of_copies_is_a_list() -> None:
    graph = Plan.of(Flow("f", "1", Copies(BODY, 3))).graph
    assert [*graph.result_inputs] == [0, 1, 2]
    assert graph.resolve_result({}, {2: "c", 0: "a", 1: "b"}) == ["a", "b", "c"]
