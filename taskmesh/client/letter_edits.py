"""A dead letter's message with some fields changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.errors import DeadLetterError, WireError
from taskmesh.model.problems import Hints
from taskmesh.wire.messages import NodeMessage, ProbeMessage, decode_message, encode_message

FIELDS = NodeMessage._fields


def read_letter(body: bytes) -> NodeMessage | ProbeMessage | None:
    """The message in a letter; None where the bytes are none of ours."""
    try:
        return decode_message(body)
    except WireError:
        return None


def edited(letter_id: str, body: bytes, changes: Mapping[str, Any]) -> bytes:
    """The bytes of the message with the fields of ``changes`` in place.

    The shard key follows the run id where it was the run id.

    :raises DeadLetterError: the bytes are no message of a node, or a change is none that such a message can have.
    """
    message = read_letter(body)
    if not isinstance(message, NodeMessage):
        raise DeadLetterError(
            letter_id,
            f"dead letter {letter_id} holds no message of a node, so none of its fields can be set; give a whole body",
        )
    _refuse_unknown(letter_id, changes)
    if message.shard_key == message.run_id and "run_id" in changes:
        changes = {"shard_key": changes["run_id"], **changes}
    again = encode_message(message._replace(**changes))
    try:
        decode_message(again)
    except WireError as error:
        raise DeadLetterError(letter_id, f"so changed, dead letter {letter_id} is not readable: {error}") from None
    return again


def routing_key_of(body: bytes, otherwise: str) -> str:
    """What the shard of a message is chosen by."""
    message = read_letter(body)
    return message.shard_key if isinstance(message, NodeMessage) else otherwise


def _refuse_unknown(letter_id: str, changes: Mapping[str, Any]) -> None:
    for name in changes:
        if name not in FIELDS:
            hint = Hints(FIELDS).did_you_mean(name)
            raise DeadLetterError(
                letter_id, f"a message has no field {name!r}{hint}; its fields are {', '.join(FIELDS)}"
            )
