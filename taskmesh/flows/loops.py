"""Loops in flow files: ``repeat_until`` beside a task, or beside a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.flows.forms import Fields, Form, Said
from taskmesh.flows.subflows import FLOW_OF_CHILD, ON_PARENT_CLOSE, POLICY_KEYS, policy_fields, read_policies
from taskmesh.flows.types import WorkReading, refuse_mixed_work
from taskmesh.model.condition_text import MAX_LENGTH
from taskmesh.model.flow import Flow
from taskmesh.model.loops import MOST_ITERATIONS, Loop, flow_of_task
from taskmesh.model.problems import Path
from taskmesh.model.values import Value

KEYS = ("repeat_until", "max_iterations", "task", "type", "with", "flow", "last_as", "count_as", *POLICY_KEYS)

PROPERTIES: Mapping[str, Any] = {
    "repeat_until": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_LENGTH,
        "description": "A condition in CEL over output, what the last iteration gave, and iteration, counted from 1.",
    },
    "max_iterations": {
        "type": "integer",
        "minimum": 1,
        "maximum": MOST_ITERATIONS,
        "description": "After so many iterations the node fails where the condition does not hold.",
    },
    "flow": FLOW_OF_CHILD,
    "last_as": {"$ref": "#/$defs/name", "description": "The parameter that gets what the iteration before gave."},
    "count_as": {"$ref": "#/$defs/name", "description": "The parameter that gets the number of the iteration."},
    "on_parent_close": ON_PARENT_CLOSE,
}


def _read(fields: Fields, path: Path, reading: Reading) -> Said:
    policy, said = read_policies(fields, path, reading)
    reference, inline, args = _body(fields, path, reading)
    step = Loop(
        reading.text(fields.get("repeat_until"), (*path, "repeat_until")),
        _count(fields.get("max_iterations"), path, reading),
        reference,
        inline,
        policy,
        reading.text(fields.get("last_as"), (*path, "last_as")),
        reading.text(fields.get("count_as"), (*path, "count_as")),
    )
    return said._replace(step=step, args=said.args if args is None else args)


class _Body(NamedTuple):
    """What is repeated: a flow by its name, or one that stands here; and the arguments, where these are no ``args``."""

    reference: str
    inline: Flow | None = None
    args: Mapping[str, Value] | None = None


def _body(fields: Fields, path: Path, reading: Reading) -> _Body:
    given = [key for key in ("task", "type", "flow") if key in fields]
    if len(given) != 1:
        wanted = "a loop repeats either a 'task', a 'type' or a 'flow': give one of them"
        reading.found((*path, "repeat_until"), wanted, True)
        return _Body("unnamed")
    refuse_mixed_work(fields, path, reading)
    if "flow" in given:
        flow = fields["flow"]
        if isinstance(flow.value, dict):
            return _Body("", reading.inner_flow(flow, (*path, "flow")))
        return _Body(reading.text(flow, (*path, "flow")) or "unnamed")
    if "task" in given:
        return _Body("", flow_of_task(reading.text(fields["task"], (*path, "task")) or "unnamed"))
    task, config = WorkReading(path, reading).work(fields, True)
    if not isinstance(config, Mapping):
        reading.found((*path, "with"), "with of a loop must map names to values")
    return _Body("", flow_of_task(task), config if isinstance(config, Mapping) else {})


def _count(item: Item | None, path: Path, reading: Reading) -> int:
    if item is None:
        reading.found((*path, "max_iterations"), "the key 'max_iterations' is missing: a loop must have an end")
    elif isinstance(item.value, int) and not isinstance(item.value, bool):
        return item.value
    else:
        reading.found((*path, "max_iterations"), f"max_iterations must be a whole number, not {item.shown}")
    return 1


def _write(step: Loop, args: Mapping[str, Value]) -> dict[str, Any]:
    # Flows hold nodes, and nodes may hold flows.
    from taskmesh.flows.dumping import flow_document

    fields: dict[str, Any] = {"repeat_until": step.condition, "max_iterations": step.max_iterations}
    fields["flow"] = step.reference if step.inline is None else flow_document(step.inline)
    named = {"last_as": step.last_as, "count_as": step.count_as}
    fields |= {key: name for key, name in named.items() if name}
    return fields | policy_fields(step.on_parent_close, args)


LOOP_FORM = Form(KEYS, PROPERTIES, _read, _write)
