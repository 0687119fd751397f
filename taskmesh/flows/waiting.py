"""Nodes that wait, in flow files: ``sleep``, ``wait: signal``, ``wait: event`` and ``approve``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.forms import Fields, Form, Said
from taskmesh.model.condition_text import MAX_LENGTH as MAX_CONDITION
from taskmesh.model.durations import DURATION_PATTERN, DURATION_RULE, read_duration
from taskmesh.model.events.on_event import TYPE_PATTERN
from taskmesh.model.events.waits import (
    DEFAULT_KEEP_SECONDS,
    MAX_KEEP_SECONDS,
    MAX_PATHS,
    PATH_PATTERN,
    EventWait,
)
from taskmesh.model.problems import Path
from taskmesh.model.references import NAME_PATTERN
from taskmesh.model.values import Value
from taskmesh.model.waiting import MAX_WAIT_SECONDS, QUESTION, SECONDS, Approve, Default, Sleep, Wait

SIGNAL, EVENT = "signal", EventWait.kind
"""What ``wait`` can say."""


def _read_sleep(fields: Fields, path: Path, reading: Reading) -> Said:
    value = fields["sleep"].value
    if isinstance(value, str) and "${" in value:
        return Said(Sleep(), {SECONDS: value})
    return Said(Sleep(_duration(fields, "sleep", path, reading)), {})


def _write_sleep(step: Sleep, args: Mapping[str, Value]) -> dict[str, Any]:
    return {"sleep": args.get(SECONDS) if step.seconds is None else step.seconds}


def _read_wait(fields: Fields, path: Path, reading: Reading) -> Said:
    if fields["wait"].value == EVENT:
        reading.found((*path, "event"), "the key 'event' is missing: the type of the event that it waits for")
    elif fields["wait"].value != SIGNAL:
        reading.found((*path, "wait"), f"wait must be {SIGNAL!r} or {EVENT!r}, not {fields['wait'].shown}")
    signal = reading.text(fields.get("signal"), (*path, "signal"))
    payload, timeout = _payload(fields, path, reading), _timeout(fields, path, reading)
    return Said(Wait(signal, payload, timeout, _default(fields, path, reading)), {})


def _write_wait(step: Wait, args: Mapping[str, Value]) -> dict[str, Any]:
    return {"wait": SIGNAL} | ({"signal": step.signal} if step.signal else {}) | _write_rest(step)


def _write_rest(step: Wait) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if step.payload is not None:
        fields["payload"] = step.payload
    if step.timeout_seconds is not None:
        fields["timeout"] = step.timeout_seconds
    return fields if step.default is None else {**fields, "default": step.default.value}


def _read_event_wait(fields: Fields, path: Path, reading: Reading) -> Said:
    if "wait" not in fields or fields["wait"].value != EVENT:
        reading.found((*path, "event"), f"'event' needs 'wait: {EVENT}' beside it", on_key=True)
    step = EventWait(
        payload=_payload(fields, path, reading),
        timeout_seconds=_timeout(fields, path, reading),
        default=_default(fields, path, reading),
        event=reading.text(fields["event"], (*path, "event")),
        filter=reading.text(fields.get("filter"), (*path, "filter")),
        keep_seconds=_keep(fields, path, reading),
    )
    return Said(step, _match(fields, path, reading))


def _write_event_wait(step: EventWait, args: Mapping[str, Value]) -> dict[str, Any]:
    fields: dict[str, Any] = {"wait": EVENT, "event": step.event, "match": dict(args)}
    if step.filter:
        fields["filter"] = step.filter
    if step.keep_seconds != DEFAULT_KEEP_SECONDS:
        fields["keep"] = step.keep_seconds
    return fields | _write_rest(step)


def _match(fields: Fields, path: Path, reading: Reading) -> dict[str, Value]:
    if "match" not in fields:
        sentence = "the key 'match' is missing; where any event of the type will do, write match: {}"
        reading.found((*path, "match"), sentence)
        return {}
    match = fields["match"].plain()
    if isinstance(match, dict):
        return match
    reading.found((*path, "match"), f"match must map paths to values, not {fields['match'].shown}")
    return {}


def _keep(fields: Fields, path: Path, reading: Reading) -> float:
    seconds = _duration(fields, "keep", path, reading) if "keep" in fields else DEFAULT_KEEP_SECONDS
    return DEFAULT_KEEP_SECONDS if seconds is None else seconds


def _read_approve(fields: Fields, path: Path, reading: Reading) -> Said:
    question = reading.text(fields["approve"], (*path, "approve"))
    return Said(Approve(_timeout(fields, path, reading)), {QUESTION: question})


def _write_approve(step: Approve, args: Mapping[str, Value]) -> dict[str, Any]:
    fields: dict[str, Any] = {"approve": args.get(QUESTION)}
    return fields if step.timeout_seconds is None else {**fields, "timeout": step.timeout_seconds}


def _payload(fields: Fields, path: Path, reading: Reading) -> dict[str, Any] | None:
    item = fields.get("payload")
    if item is None:
        return None
    schema = item.plain()
    if isinstance(schema, dict):
        return schema
    reading.found((*path, "payload"), f"payload must be a mapping, a JSON Schema, not {item.shown}")
    return None


def _default(fields: Fields, path: Path, reading: Reading) -> Default | None:
    if "default" not in fields:
        return None
    value = fields["default"].plain()
    if "${" in repr(value):
        reading.found((*path, "default"), "default is given as it is written, so it cannot hold references")
    return Default(value)


def _timeout(fields: Fields, path: Path, reading: Reading) -> float | None:
    return _duration(fields, "timeout", path, reading) if "timeout" in fields else None


def _duration(fields: Fields, key: str, path: Path, reading: Reading) -> float | None:
    seconds = read_duration(fields[key].value)
    if seconds is None:
        reading.found((*path, key), f"{key} must be {DURATION_RULE}, not {fields[key].shown}")
    return seconds


_WAIT_TIME: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_WAIT_SECONDS},
        {"type": "string", "pattern": f"^{DURATION_PATTERN}$"},
    ]
}
_TIMEOUT = {**_WAIT_TIME, "description": "How long it waits from when it is ready; default: without end."}
_DEFAULT = {"description": "The output when its time is over; without it the node fails then."}

SLEEP = Form(
    ("sleep",),
    {
        "sleep": {
            "anyOf": [*_WAIT_TIME["anyOf"], {"type": "string", "pattern": r"\$\{"}],
            "description": "How long it waits from when it is ready, up to 100 years, or a reference to that.",
        }
    },
    _read_sleep,
    _write_sleep,
)
WAIT = Form(
    ("wait", "signal", "payload", "timeout", "default"),
    {
        "wait": {"const": SIGNAL, "description": "Waits for a signal; its payload is the output."},
        "signal": {
            "type": "string",
            "pattern": f"^{NAME_PATTERN}$",
            "description": "The name of the signal; default: that of the node.",
        },
        "payload": {"type": "object", "description": "The JSON Schema that payloads must keep to."},
        "timeout": _TIMEOUT,
        "default": _DEFAULT,
    },
    _read_wait,
    _write_wait,
)
EVENT_WAIT = Form(
    ("wait", "event", "match", "filter", "keep", "payload", "timeout", "default"),
    {
        "wait": {"const": EVENT, "description": "Waits for an event from elsewhere; its data are the output."},
        "event": {"type": "string", "pattern": f"^{TYPE_PATTERN}$", "description": "The type of the event."},
        "match": {
            "type": "object",
            "propertyNames": {"pattern": f"^{PATH_PATTERN}$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "maxProperties": MAX_PATHS,
            "description": "The values that its data must have, by path, as customer.id; may hold references. "
            "{}: any event of the type will do.",
        },
        "filter": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CONDITION,
            "description": "A condition in CEL over the event that must hold, too, as event.data.amount > 0.",
        },
        "keep": {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MAX_KEEP_SECONDS},
                {"type": "string", "pattern": f"^{DURATION_PATTERN}$"},
            ],
            "description": "Events count that came so long before the node began to wait; default: 10m.",
        },
        "payload": {"type": "object", "description": "The JSON Schema that its data must keep to."},
        "timeout": _TIMEOUT,
        "default": _DEFAULT,
    },
    _read_event_wait,
    _write_event_wait,
    ("wait", "event", "match"),
)
APPROVE = Form(
    ("approve", "timeout"),
    {
        "approve": {"type": "string", "minLength": 1, "description": "Waits for a decision: what is to be decided."},
        "timeout": _TIMEOUT,
    },
    _read_approve,
    _write_approve,
)
