"""``on`` of a flow file: which events begin its runs."""

from __future__ import annotations

from typing import Any

from taskmesh.flows.choices import Fields, Reading
from taskmesh.flows.document import Item
from taskmesh.flows.fields import BATCH_KEYS, ON_KEYS
from taskmesh.flows.policies import PolicyReading
from taskmesh.model.condition_text import MAX_LENGTH
from taskmesh.model.events.batching import DEBOUNCES_WAITED, DEFAULT_BATCH, MAX_BATCH, Batching
from taskmesh.model.events.on_event import TYPE_PATTERN, WHOLE_ID, OnEvent

_PATH = ("on",)

ON_PROPERTIES: dict[str, Any] = {
    "event": {"type": "string", "pattern": f"^{TYPE_PATTERN}$", "description": "The type of the events."},
    "when": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_LENGTH,
        "description": "Begins runs only where this holds, in CEL over event.data, event.id, event.type, event.source.",
    },
    "params": {
        "type": "object",
        "description": "The parameters of the run; may hold references like ${event.data.id}, of a batch ${events}.",
    },
    "dedup": {
        "type": "string",
        "pattern": r"\$\{",
        "default": WHOLE_ID,
        "description": "Events of one source for which this is the same begin one run, or count once in a batch.",
    },
    "window": {
        "$ref": "#/$defs/duration",
        "description": "Events are gathered for so long after the first one, and begin one run together.",
    },
    "debounce": {
        "$ref": "#/$defs/duration",
        "description": "Events are gathered until none has come for so long, and begin one run together.",
    },
    "max_wait": {
        "$ref": "#/$defs/duration",
        "description": f"No batch is open for longer, whatever comes; default: {DEBOUNCES_WAITED} times debounce.",
    },
    "max_batch": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_BATCH,
        "default": DEFAULT_BATCH,
        "description": "With so many events a batch closes at once.",
    },
    "key": {
        "type": "string",
        "pattern": r"\$\{",
        "description": "Events for which this is the same are gathered together; default: all of them.",
    },
}


def read_on_event(item: Item | None, reading: Reading) -> OnEvent | None:
    """What is said of events, if anything; ``reading`` hears what is wrong."""
    if item is None:
        return None
    fields = reading.fields(item, _PATH, "on", ON_KEYS, {})
    if isinstance(item.value, dict) and "event" not in fields:
        reading.found((*_PATH, "event"), "the key 'event' is missing")
    params = fields["params"].plain() if "params" in fields else {}
    if not isinstance(params, dict):
        reading.found((*_PATH, "params"), f"params must map names to values, not {fields['params'].shown}")
        params = {}
    texts = {key: reading.text(fields.get(key), (*_PATH, key)) for key in ("event", "when", "dedup")}
    batching = _batching(fields, reading)
    return OnEvent(texts["event"] or "unnamed", texts["when"], params, texts["dedup"] or WHOLE_ID, batching)


def _batching(fields: Fields, reading: Reading) -> Batching | None:
    if fields.keys().isdisjoint(BATCH_KEYS):
        return None
    policies = PolicyReading(_PATH, reading.found)
    window, debounce, longest = (
        policies.duration(fields.get(key), (key,)) for key in ("window", "debounce", "max_wait")
    )
    most = policies.count(fields.get("max_batch"), "max_batch", DEFAULT_BATCH)
    return Batching(window, debounce, longest, most, reading.text(fields.get("key"), (*_PATH, "key")))


def write_on_event(on: OnEvent) -> dict[str, Any]:
    """The other way round."""
    fields: dict[str, Any] = {"event": on.event}
    if on.when:
        fields["when"] = on.when
    if on.params:
        fields["params"] = dict(on.params)
    if on.dedup != WHOLE_ID:
        fields["dedup"] = on.dedup
    return fields | (_batching_fields(on.batching) if on.batching else {})


def _batching_fields(batching: Batching) -> dict[str, Any]:
    values: dict[str, tuple[Any, Any]] = {
        "window": (batching.window_seconds, None),
        "debounce": (batching.debounce_seconds, None),
        "max_wait": (batching.max_wait_seconds, None),
        "max_batch": (batching.max_batch, DEFAULT_BATCH),
        "key": (batching.key, ""),
    }
    return {key: value for key, (value, default) in values.items() if value != default}
