"""Events from elsewhere: a map in JSON or msgpack, or a structured CloudEvent in JSON.

Which of them a body is shows at its first byte. So content types need not be right, and a dead letter needs none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from taskmesh.errors import TooLargeError, WireError
from taskmesh.model.events.on_event import FIELDS, MAX_TEXT, TYPE_PATTERN, InboundEvent
from taskmesh.wire.cloud_events import SPEC_VERSION
from taskmesh.wire.codec import pack, unpack

MAX_DEPTH = 64
"""Of lists and objects in the data of an event."""

_TYPE = re.compile(TYPE_PATTERN)
_FIRST_OF_MSGPACK = b"\x80"
"""No map in msgpack begins with a lower byte, and no JSON in UTF-8 with this or a higher one."""


def decode_inbound(body: bytes, limit_bytes: int) -> InboundEvent:
    """Read an event that somebody has sent.

    :raises TooLargeError: it has more than ``limit_bytes``; nothing is decoded then.
    :raises WireError: with a reason that its sender can act on.
    """
    if len(body) > limit_bytes:
        raise TooLargeError(f"the event has {len(body)} bytes; limits.max_value_bytes allows {limit_bytes}")
    fields = unpack(body, limit_bytes) if body >= _FIRST_OF_MSGPACK else _json(body)
    if not isinstance(fields, Mapping):
        raise WireError("an event must be an object with the keys type, id, source and data")
    return checked_event(_event(fields), limit_bytes)


def checked_event(event: InboundEvent, limit_bytes: int) -> InboundEvent:
    """The event with its data as plain as they are once they are stored.

    :raises TooLargeError: the data are over the limit. :raises WireError: a part of it cannot be used.
    """
    _check_text("type", event.type, least=1)
    if not _TYPE.fullmatch(event.type):
        raise WireError("the type of an event must be 1-255 printable ASCII characters, without spaces")
    _check_text("id", event.id, least=1)
    _check_text("source", event.source, least=0)
    _check_shape(event.data, MAX_DEPTH)
    packed = pack(event.data)
    if len(packed) > limit_bytes:
        raise TooLargeError(
            f"the data of the event have {len(packed)} bytes; limits.max_value_bytes allows {limit_bytes}"
        )
    return event._replace(data=unpack(packed))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the event is no JSON: {str(error)[:200]}") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _event(fields: Mapping[Any, Any]) -> InboundEvent:
    version = fields.get("specversion")
    if version is None:
        if unknown := [key for key in fields if key not in FIELDS]:
            raise WireError(f"an event has no key {unknown[0]!r:.100}; its keys are {', '.join(FIELDS)}")
    elif version != SPEC_VERSION:
        raise WireError(f"the CloudEvent is of version {version!r:.100}; {SPEC_VERSION} can be read")
    if "data_base64" in fields:
        raise WireError("the CloudEvent has binary data; only JSON can be read")
    for key in ("type", "id"):
        if key not in fields:
            raise WireError(f"the event has no {key!r}")
    return InboundEvent(fields["type"], fields["id"], fields.get("source", ""), fields.get("data"))


def _check_text(key: str, value: object, least: int) -> None:
    if not isinstance(value, str) or not least <= len(value) <= MAX_TEXT:
        raise WireError(f"the {key} of an event must be a text of {least}-{MAX_TEXT} characters")
    if not value.isprintable():
        raise WireError(f"the {key} of an event must have printable characters alone")


def _check_shape(value: object, depth: int) -> None:
    if not isinstance(value, Mapping | list | tuple):
        return
    if depth == 0:
        raise WireError(f"the data of the event are nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping) and not all(isinstance(key, str) for key in value):
        raise WireError("a key in the data of the event is no text")
    for each in value.values() if isinstance(value, Mapping) else value:
        _check_shape(each, depth - 1)
