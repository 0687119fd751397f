"""What RabbitMQ says when it refuses, in words for the log."""

from __future__ import annotations

import pytest
from pika.exceptions import ConnectionClosedByBroker

from taskmesh.broker.amqp_faults import brief


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("INTERNAL_ERROR - Cannot declare quorum queue 'mesh.default.2': cluster_not_formed", "restart its node"),
        ("CONNECTION_FORCED - broker forced connection closure", "closure"),
    ],
)
def test_a_lost_queue_needs_a_restart(text: str, advice: str) -> None:
    said = brief(ConnectionClosedByBroker(541, text))
    assert said.startswith(f"541 {text}")
    assert said.endswith(advice)
