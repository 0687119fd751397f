"""Nodes that wait, in flow files: ``sleep``, ``wait: signal`` and ``approve``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.forms import Fields, Form, Said
from taskmesh.model.durations import DURATION_PATTERN, DURATION_RULE, read_duration
from taskmesh.model.problems import Path
from taskmesh.model.references import NAME_PATTERN
from taskmesh.model.values import Value
from taskmesh.model.waiting import MAX_WAIT_SECONDS, QUESTION, SECONDS, Approve, Default, Sleep, Wait

SIGNAL = "signal"
"""What ``wait`` can say."""


def _read_sleep(fields: Fields, path: Path, reading: Reading) -> Said:
    value = fields["sleep"].value
    if isinstance(value, str) and "${" in value:
        return Said(Sleep(), {SECONDS: value})
    return Said(Sleep(_duration(fields, "sleep", path, reading)), {})


def _write_sleep(step: Sleep, args: Mapping[str, Value]) -> dict[str, Any]:
    return {"sleep": args.get(SECONDS) if step.seconds is None else step.seconds}


def _read_wait(fields: Fields, path: Path, reading: Reading) -> Said:
    if fields["wait"].value != SIGNAL:
        reading.found((*path, "wait"), f"wait must be {SIGNAL!r}, not {fields['wait'].shown}")
    signal = reading.text(fields.get("signal"), (*path, "signal"))
    payload, timeout = _payload(fields, path, reading), _timeout(fields, path, reading)
    return Said(Wait(signal, payload, timeout, _default(fields, path, reading)), {})


def _write_wait(step: Wait, args: Mapping[str, Value]) -> dict[str, Any]:
    fields: dict[str, Any] = {"wait": SIGNAL}
    if step.signal:
        fields["signal"] = step.signal
    if step.payload is not None:
        fields["payload"] = step.payload
    if step.timeout_seconds is not None:
        fields["timeout"] = step.timeout_seconds
    return fields if step.default is None else {**fields, "default": step.default.value}


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
        "default": {"description": "The output when its time is over; without it the node fails then."},
    },
    _read_wait,
    _write_wait,
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
