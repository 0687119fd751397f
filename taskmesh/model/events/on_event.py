"""Which events begin runs of a flow, and with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from taskmesh.model.events.batching import Batching
from taskmesh.model.values import Value

EVENT = "event"
"""What references and conditions call it."""

WHOLE_ID = "${event.id}"

TYPE_PATTERN = r"[!-~]{1,255}"
"""Of the type of an event: printable ASCII without spaces."""

MAX_TEXT = 1000
"""Characters of the id, and of the source, of an event."""


class InboundEvent(NamedTuple):
    """Something that has happened elsewhere. Events with one ``source`` and one ``id`` are the same event."""

    type: str
    id: str
    source: str
    data: Value

    @property
    def fields(self) -> dict[str, Value]:
        """As references and conditions see it."""
        return self._asdict()


FIELDS = InboundEvent._fields


@dataclass(frozen=True, slots=True)
class OnEvent:
    """Runs of a flow begin with events of the type ``event`` for which ``when`` holds, in CEL; empty: with all.

    ``params`` and ``dedup`` may refer to ``${event.data.KEY}``, ``${event.id}``, ``${event.type}`` and
    ``${event.source}``. Events of one source with the same ``dedup`` begin one run. With ``batching`` a run begins
    with all events of a batch, and ``params`` refer to ``${events}`` and ``${batch.KEY}`` instead.
    """

    event: str
    when: str = ""
    params: Mapping[str, Value] = field(default_factory=dict)
    dedup: str = WHOLE_ID
    batching: Batching | None = None
