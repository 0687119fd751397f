"""``on`` of a flow file: which events begin its runs."""

from __future__ import annotations

from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.document import Item
from taskmesh.flows.fields import ON_KEYS
from taskmesh.model.conditions import MAX_LENGTH
from taskmesh.model.on_event import TYPE_PATTERN, WHOLE_ID, OnEvent

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
        "description": "The parameters of the run; may hold references like ${event.data.id}.",
    },
    "dedup": {
        "type": "string",
        "pattern": r"\$\{",
        "default": WHOLE_ID,
        "description": "Events of one source for which this is the same begin one run.",
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
    return OnEvent(texts["event"] or "unnamed", texts["when"], params, texts["dedup"] or WHOLE_ID)


def write_on_event(on: OnEvent) -> dict[str, Any]:
    """The other way round."""
    fields: dict[str, Any] = {"event": on.event}
    if on.when:
        fields["when"] = on.when
    if on.params:
        fields["params"] = dict(on.params)
    return fields if on.dedup == WHOLE_ID else {**fields, "dedup": on.dedup}
