"""The messages on RabbitMQ: ids only, never a graph, never arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from taskmesh.errors import TooLargeError, WireError
from taskmesh.wire.codec import pack, unpack

MESSAGE_SCHEMA = 1
MAX_MESSAGE_BYTES = 2048
"""A node message holds ids; what is longer was not written by us."""

CONTENT_TYPE = "application/vnd.taskmesh+msgpack"

_NODE = "node"
_PROBE = "probe"


class NodeMessage(NamedTuple):
    """Says that a node of a run is ready. ``node`` is its place in the flow; -1 stands before the first nodes."""

    run_id: str
    node: int
    attempt: int
    token: int
    flow_hash: str
    shard_key: str
    deadline: float | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class ProbeMessage:
    """Goes through one shard to show that what was sent before has been received. ``sent_at`` in Redis time."""

    pool: str
    queue: str
    sent_at: float


def encode_message(message: NodeMessage | ProbeMessage) -> bytes:
    """The bytes of a message."""
    if isinstance(message, NodeMessage):
        return pack((MESSAGE_SCHEMA, _NODE, *message))
    return pack((MESSAGE_SCHEMA, _PROBE, message.pool, message.queue, message.sent_at))


def decode_message(body: bytes) -> NodeMessage | ProbeMessage:
    """Read a message.

    :raises WireError: with a short reason that a person can act on.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise TooLargeError(f"{len(body)} bytes; a message has at most {MAX_MESSAGE_BYTES}")
    fields = unpack(body)
    if not isinstance(fields, list) or len(fields) < 2:
        raise WireError("not a taskmesh message")
    if fields[0] != MESSAGE_SCHEMA:
        raise WireError(f"message schema {fields[0]!r}; this worker reads {MESSAGE_SCHEMA}")
    if fields[1] == _NODE:
        return _node_message(fields[2:])
    if fields[1] == _PROBE:
        return _probe_message(fields[2:])
    raise WireError(f"message kind {fields[1]!r} is unknown")


_Types: TypeAlias = tuple[type | tuple[type, ...], ...]

_NODE_TYPES: _Types = (str, int, int, int, str, str, (float, type(None)), str)
_PROBE_TYPES: _Types = (str, str, float)


def _node_message(fields: list[Any]) -> NodeMessage:
    if len(fields) != len(_NODE_TYPES) or not _are(fields, _NODE_TYPES):
        raise WireError("a node message with fields missing or of a wrong type")
    return NodeMessage(*fields)


def _probe_message(fields: list[Any]) -> ProbeMessage:
    if len(fields) != len(_PROBE_TYPES) or not _are(fields, _PROBE_TYPES):
        raise WireError("a probe message with fields missing or of a wrong type")
    return ProbeMessage(*fields)


def _are(fields: list[Any], types: _Types) -> bool:
    return all(isinstance(field, type_) for field, type_ in zip(fields, types, strict=True))
