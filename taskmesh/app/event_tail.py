"""``taskmesh events tail``: what is published of ended runs and nodes, as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from taskmesh.app.assembly import lay_foundation
from taskmesh.broker.factory import listen_to_events
from taskmesh.config.settings import Settings
from taskmesh.model.events.published import EventFilter


@contextmanager
def tail(settings: Settings, wanted: EventFilter) -> Iterator[Iterator[dict[str, Any]]]:
    """The CloudEvents that are published while this lasts.

    :raises BrokerUnavailableError: the broker is away.
    """
    with closing(lay_foundation(settings)) as foundation, listen_to_events(foundation.broker, wanted.binding) as bodies:
        yield (event for event in map(_read, bodies) if event is not None and wanted.takes(event))


def _read(body: bytes) -> dict[str, Any] | None:
    """None for what somebody else has published there."""
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
