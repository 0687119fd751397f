"""Events as CloudEvents 1.0 in structured JSON mode: the body has all, the content type says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

from taskmesh.model.events.published import Event

CLOUD_EVENT_TYPE = "application/cloudevents+json; charset=utf-8"
SPEC_VERSION = "1.0"


def encode_event(event: Event, namespace: str) -> bytes:
    """The body of the message that carries an event."""
    fields = {
        "specversion": SPEC_VERSION,
        "id": event.id,
        "source": f"/taskmesh/{quote(namespace, safe='')}/flows/{quote(event.flow, safe='')}",
        "type": event.type,
        "subject": event.subject,
        "time": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        **event.trace,
        "datacontenttype": "application/json",
        "data": dict(event.data),
    }
    return json.dumps(fields, separators=(",", ":")).encode()
