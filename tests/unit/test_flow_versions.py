"""What can be said of registered flows without a store: how versions are named, and what differs between two flows."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh.errors import UsageError
from taskmesh.flows import flow_document, load_flow
from taskmesh.model.differences import Change, Difference, differences
from taskmesh.model.flow_versions import FlowReference, is_registrable

BASE = """
flow: order
version: "1"
params: {order_id: string, amount: {type: number, default: 0}}
nodes:
  reserve: {task: w:reserve, args: {order: {id: "${params.order_id}", express: true}}}
  charge: {task: w:charge, needs: [reserve], timeout: 10, retry: {max_attempts: 3}}
  note: {task: w:note}
"""


def found(before: str, after: str) -> list[Difference]:
    documents = [flow_document(load_flow(text, "f.yaml")) for text in (before, after)]
    return list(differences(*documents))


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("order", FlowReference("order")),
        ("order@3", FlowReference("order", 3)),
        ("order@latest", FlowReference("order", latest=True)),
        ("a.b_c-9@12", FlowReference("a.b_c-9", 12)),
    ],
)
def test_a_reference_reads_back(text: str, reference: FlowReference) -> None:
    assert FlowReference.parse(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text", ["", "@3", "order@", "order@0", "order@03", "order@-1", "order@newest", "a b", "a:b", "a/b", "a@1@2", "x\n"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no registered flow"):
        FlowReference.parse(text)


def test_a_name_that_could_be_taken_for_something_else_cannot_be_registered() -> None:
    assert is_registrable("order-fulfilment")
    assert not any(map(is_registrable, ("shop:order", "order@3", "a/b", "-o", "x" * 129)))


@pytest.mark.parametrize(
    ("old", "new", "path", "change", "before", "after"),
    [
        ('version: "1"', 'version: "2"', ("version",), Change.CHANGED, "1", "2"),
        ("timeout: 10", "timeout: 20", ("nodes", "charge", "timeout"), Change.CHANGED, 10.0, 20.0),
        ("timeout: 10, ", "", ("nodes", "charge", "timeout"), Change.REMOVED, 10.0, None),
        ("  note: {task: w:note}\n", "", ("nodes", "note"), Change.REMOVED, {"task": "w:note"}, None),
        ("task: w:note", "task: w:tell", ("nodes", "note", "task"), Change.CHANGED, "w:note", "w:tell"),
        ("express: true", "express: 1", ("nodes", "reserve", "args", "order", "express"), Change.CHANGED, True, 1),
        ("attempts: 3", "attempts: 4", ("nodes", "charge", "retry", "max_attempts"), Change.CHANGED, 3, 4),
        ("order_id: string,", "", ("params", "order_id"), Change.REMOVED, {"type": "string"}, None),
        ('version: "1"', 'version: "1"\non_failure: continue', ("on_failure",), Change.ADDED, None, "continue"),
        ("default: 0", "default: 1", ("params", "amount", "default"), Change.CHANGED, 0, 1),
    ],
)
def test_each_difference_has_its_place(
    old: str, new: str, path: tuple[str, ...], change: Change, before: Any, after: Any
) -> None:
    changed = BASE.replace(old, new).replace("${params.order_id}", "x")
    base = BASE.replace("${params.order_id}", "x")
    assert base != changed
    assert found(base, changed) == [Difference(path, change, before, after)]


def test_the_order_of_nodes_and_keys_means_nothing() -> None:
    lines = BASE.splitlines()
    turned = "\n".join([*lines[:5], lines[7], lines[5], lines[6]])
    assert turned != BASE.strip()
    assert found(BASE, turned) == []


def test_a_node_in_place_of_another_is_one_less_and_one_more() -> None:
    renamed = found(BASE, BASE.replace("note: {", "tell: {"))
    assert [(each.path, each.change) for each in renamed] == [
        (("nodes", "note"), Change.REMOVED),
        (("nodes", "tell"), Change.ADDED),
    ]
