from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmesh.errors import FlowError, UnresolvedReferenceError
from taskmesh.model.references import MAX_DEPTH, compile_value, escape

PARAMS = {"id": "o-1", "n": 3, "items": [{"sku": "a"}, {"sku": "b"}], "none": None}
OUTPUTS = {"a": {"parcel": {"kg": 2.5}, "0": "text key"}, "b-2": [10, 20, 30]}

DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="${}.ab\n", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("${a", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${params}", PARAMS),
        ("${params.n}", 3),
        ("${params.none}", None),
        ("${params.items.1.sku}", "b"),
        ("${params.items.-1}", {"sku": "b"}),
        ("${nodes.a.output}", OUTPUTS["a"]),
        ("${nodes.a.output.parcel.kg}", 2.5),
        ("${nodes.a.output.0}", "text key"),
        ("${nodes.b-2.output.2}", 30),
    ],
)
def test_a_lone_reference_keeps_the_type(text: str, value: object) -> None:
    resolved = compile_value(text).resolve(PARAMS, OUTPUTS)

    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("order ${params.id}, ${params.n} items", "order o-1, 3 items"),
        ("${params.id}${params.id}", "o-1o-1"),
        ("${params.none}!", "null!"),
        ("${nodes.a.output.parcel} ü", '{"kg": 2.5} ü'),
        ("cost $5 {x} $ {y}", "cost $5 {x} $ {y}"),
        ("$${params.id}", "${params.id}"),
        ("$$${params.id}", "$o-1"),
        ("$$$${params.id}", "$${params.id}"),
        ("$${ ${params.n} }", "${ 3 }"),
    ],
)
def test_inside_text_references_become_text(text: str, value: str) -> None:
    assert compile_value(text).resolve(PARAMS, OUTPUTS) == value


def test_names_are_listed_in_order_without_repeats() -> None:
    template = compile_value(
        {"x": ["${nodes.b-2.output}", "${nodes.a.output} ${nodes.b-2.output}"], "y": "${params.n}"}
    )

    assert template.nodes == ("b-2", "a")
    assert template.params == ("n",)


def test_only_what_refers_is_replaced_and_the_order_of_keys_stays() -> None:
    value = {"first": "${params.n}", "second": [1, "${params.id}", {"deep": "${nodes.b-2.output.0}"}], "third": "x"}

    resolved = compile_value(value).resolve(PARAMS, OUTPUTS)

    assert resolved == {"first": 3, "second": [1, "o-1", {"deep": 10}], "third": "x"}
    assert list(resolved) == ["first", "second", "third"]


def test_resolving_twice_shares_nothing_that_was_filled_in() -> None:
    template = compile_value({"inner": ["${params.n}"]})
    first = template.resolve({"n": 1}, {})

    assert template.resolve({"n": 2}, {}) == {"inner": [2]}
    assert first == {"inner": [1]}


def test_a_constant_is_handed_out_without_a_copy() -> None:
    template = compile_value({"a": [1, 2, {"b": "$${x}"}]})

    assert template.resolver is None
    assert template.resolve({}, {}) is template.resolve({}, {})
    assert template.resolve({}, {}) == {"a": [1, 2, {"b": "${x}"}]}


@given(DATA)
def test_an_escaped_value_stands_for_itself(value: object) -> None:
    template = compile_value(escape(value))

    assert template.resolve({}, {}) == value
    assert (template.nodes, template.params) == ((), ())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${params.gone}", "${params.gone} cannot be resolved: the run has no parameter 'gone'"),
        ("${nodes.gone.output.x}", "${nodes.gone.output.x} cannot be resolved: node 'gone' has no output"),
        ("${nodes.a.output.box.x}", "${nodes.a.output} is an object with the keys 'parcel', '0'"),
        ("${nodes.b-2.output.7}", "${nodes.b-2.output} is a list of 3"),
        ("${nodes.b-2.output.first}", "${nodes.b-2.output} is a list of 3"),
        ("${params.id.0}", "${params.id} is a text, which has nothing inside"),
        ("${params.none.x}", "${params.none} is null"),
    ],
)
def test_what_is_not_there_is_said(text: str, sentence: str) -> None:
    with pytest.raises(UnresolvedReferenceError) as caught:
        compile_value([text]).resolve(PARAMS, OUTPUTS)

    assert sentence in str(caught.value)
    assert caught.value.reference == text


def test_an_object_of_many_keys_is_described_by_a_few() -> None:
    with pytest.raises(UnresolvedReferenceError, match=r"'k9' and 90 more$"):
        compile_value("${params.o.x}").resolve({"o": {f"k{number}": 0 for number in range(100)}}, {})


def test_bytes_have_no_form_inside_text() -> None:
    assert compile_value("${params.b}").resolve({"b": b"x"}, {}) == b"x"
    with pytest.raises(UnresolvedReferenceError, match="no form as text"):
        compile_value("value: ${params.b}").resolve({"b": b"x"}, {})


@pytest.mark.parametrize(
    "text",
    ["${x}", "${}", "${params.}", "${params.a..b}", "${params.1a}", "${nodes.a}", "${nodes.a.result}", "${ params.a }"],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(FlowError) as caught:
        compile_value(f"before {text}")

    assert caught.value.problems == (
        f"'{text}' is not a reference; write ${{params.NAME}}, ${{nodes.NAME.output}} or ${{run.metadata.KEY}}, "
        "and $${ where ${ is meant literally",
    )


def test_all_faults_of_a_value_are_named() -> None:
    with pytest.raises(FlowError) as caught:
        compile_value({"a": "${x}", "b": ["${params.a", {3: "y"}]})

    assert len(caught.value.problems) == 3
    assert "has no closing }" in caught.value.problems[1]
    assert "the key 3 is not text" in caught.value.problems[2]


def nested(levels: int) -> object:
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_limited() -> None:
    assert compile_value(nested(MAX_DEPTH)).resolve({}, {}) == nested(MAX_DEPTH)
    with pytest.raises(FlowError, match="deeper than 64 levels"):
        compile_value(nested(MAX_DEPTH + 1))
    with pytest.raises(FlowError, match="deeper than 64 levels"):
        escape(nested(MAX_DEPTH + 1))


def test_a_value_that_holds_itself_ends_quickly() -> None:
    value: list[object] = []
    value += [value, value]

    with pytest.raises(FlowError, match="deeper than 64 levels"):
        compile_value(value)


def test_a_long_run_of_dollars_is_read_once() -> None:
    text = "$" * 200_001 + "{params.n}"

    assert compile_value("x" + text).resolve(PARAMS, {}) == "x" + "$" * 100_000 + "3"
    assert compile_value("$" * 200_000 + " ${params.n}").resolve(PARAMS, {}) == "$" * 200_000 + " 3"
