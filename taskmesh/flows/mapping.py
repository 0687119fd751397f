"""Mapped nodes in flow files: ``map`` beside ``task`` or ``flow``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.flows.forms import Fields, Form, Said
from taskmesh.flows.subflows import SUBFLOW_FORM
from taskmesh.flows.types import refuse_mixed_work
from taskmesh.flows.words import one_of
from taskmesh.model.flow import Node
from taskmesh.model.mapping import MAX_ITEMS, OVER, ItemFailure, Map, mapped
from taskmesh.model.problems import Path
from taskmesh.model.values import Value

_OWN_KEYS = ("map", "slice", "slice_by", "max_in_flight", "on_item_failure", "min_success")
_WORK = ("task", "type", "with")
_OF_TASKS = (*_WORK, "schedule_to_start", "schedule_to_close", "heartbeat_timeout", "breaker", "fallback", "compensate")
_BODY_KEYS = (*_OF_TASKS, *SUBFLOW_FORM.keys)


def _read(fields: Fields, path: Path, reading: Reading) -> Said:
    step = Map(
        _body(fields, path, reading),
        slice_size=_count(fields.get("slice"), (*path, "slice"), reading),
        slice_by=reading.text(fields.get("slice_by"), (*path, "slice_by")),
        most_at_once=_count(fields.get("max_in_flight"), (*path, "max_in_flight"), reading),
        on_item_failure=one_of(fields, "on_item_failure", ItemFailure.FAIL, reading.found, path),
        min_success=_min_success(fields.get("min_success"), (*path, "min_success"), reading),
    )
    node = mapped(step.body, step, fields["map"].plain())
    assert isinstance(node.args, Mapping)
    return Said(step, node.args)


def _body(fields: Fields, path: Path, reading: Reading) -> Node:
    """What runs for each item: a task, a node type, or a flow."""
    if "flow" not in fields:
        refuse_mixed_work(fields, path, reading)
        return reading.task_node(fields, path)
    for key in [key for key in _OF_TASKS if key in fields]:
        reading.found(
            (*path, key), f"{key!r} belongs to a task or a node type, and each item is a run of a flow; keep one", True
        )
    said, pool = SUBFLOW_FORM.read(fields, path, reading), reading.text(fields.get("pool"), (*path, "pool"))
    return Node(str(path[-1]), "", said.args, (), pool, said.retry, said.limits, step=said.step)


def _count(item: Item | None, path: Path, reading: Reading) -> int:
    if item is None:
        return 0
    if isinstance(item.value, int) and not isinstance(item.value, bool) and 1 <= item.value <= MAX_ITEMS:
        return item.value
    reading.found(path, f"{path[-1]} must be a whole number from 1 to {MAX_ITEMS}, not {item.shown}")
    return 0


def _min_success(item: Item | None, path: Path, reading: Reading) -> float:
    if item is None:
        return 0
    if isinstance(item.value, int | float) and not isinstance(item.value, bool):
        return item.value
    reading.found(path, f"min_success must be a number, not {item.shown}")
    return 0


def _write(step: Map, args: Mapping[str, Value]) -> dict[str, Any]:
    fields: dict[str, Any] = {"map": args[OVER]}
    if step.slice_size:
        fields["slice"] = step.slice_size
    if step.slice_by:
        fields["slice_by"] = step.slice_by
    if step.most_at_once:
        fields["max_in_flight"] = step.most_at_once
    if step.on_item_failure is not ItemFailure.FAIL:
        fields["on_item_failure"] = str(step.on_item_failure)
    return {**fields, "min_success": step.min_success} if step.min_success else fields


_PROPERTIES: dict[str, Any] = {
    "map": {
        "type": ["string", "array", "object"],
        "description": "The list, for each item of which the task or the flow is run; or names with lists, for each "
        "way to take one from each. In args, ${item} and ${index} stand for the item and its place.",
    },
    "slice": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_ITEMS,
        "description": "Take at most so many items together: the item is a list then. Which ones are together depends "
        "on the items themselves, not on their places.",
    },
    "slice_by": {
        "type": "string",
        "minLength": 1,
        "description": "The entry of an item by which it gets to its slice; default: all of it.",
    },
    "max_in_flight": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_ITEMS,
        "description": "At most so many items have begun and not ended at any time.",
    },
    "on_item_failure": {
        "enum": [str(each) for each in ItemFailure],
        "default": str(ItemFailure.FAIL),
        "description": "After an item has failed: start no other, and fail; or go on with the others.",
    },
    "min_success": {
        "type": "number",
        "minimum": 0,
        "description": "With on_item_failure: continue, how many items must succeed: a whole number of items, or a "
        "part of all with a decimal point, such as 0.9.",
    },
}

MAP = Form((*_OWN_KEYS, *_BODY_KEYS), {**SUBFLOW_FORM.properties, **_PROPERTIES}, _read, _write)
