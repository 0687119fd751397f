"""A dead letter's message is changed field by field, or refused in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from taskmesh.client.letter_edits import edited, routing_key_of
from taskmesh.errors import DeadLetterError
from taskmesh.wire.messages import NodeMessage, ProbeMessage, decode_message, encode_message

MESSAGE = NodeMessage("r1", 0, 1, 2, "f" * 32, "r1")
BODY = encode_message(MESSAGE)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"node": 3}, MESSAGE._replace(node=3)),
        ({"run_id": "r2"}, MESSAGE._replace(run_id="r2", shard_key="r2")),
        ({"run_id": "r2", "shard_key": "k"}, MESSAGE._replace(run_id="r2", shard_key="k")),
        ({"deadline": 5.0}, MESSAGE._replace(deadline=5.0)),
    ],
)
def test_fields_are_set(changes: dict[str, Any], expected: NodeMessage) -> None:
    assert decode_message(edited("id", BODY, changes)) == expected


@pytest.mark.parametrize(
    ("body", "changes", "sentence"),
    [
        (BODY, {"runid": "x"}, "no field 'runid'; did you mean 'run_id'"),
        (BODY, {"node": "three"}, "not readable: a node message with fields missing or of a wrong type"),
        (BODY, {"trace": "x" * 3000}, "at most 2048"),
        (b"\xc1", {"node": 1}, "holds no message of a node"),
        (encode_message(ProbeMessage("p", "q", 1.0)), {"node": 1}, "holds no message of a node"),
    ],
)
def test_what_cannot_be_set_is_refused(body: bytes, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeadLetterError, match=sentence) as caught:
        edited("some-id", body, changes)
    assert caught.value.letter_id == "some-id"


def test_the_shard_is_chosen_by_what_the_message_says() -> None:
    assert routing_key_of(BODY, "other") == "r1"
    assert routing_key_of(b"\xc1", "other") == "other"
