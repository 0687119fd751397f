"""The one place from which nodes go to the broker: submit, settle and the keeper all end here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskmesh.broker.protocol import LinkState, Outgoing, Publisher
from taskmesh.dispatch.plan import Plan
from taskmesh.wire.messages import NodeMessage, encode_message

FIRST_TOKEN = 1
"""The token that the scripts give a node when it becomes ready for the first time."""


class Ready(NamedTuple):
    """A node that a worker should take up. ``node`` is its place in the flow.

    ``elsewhere``: over another shard than before, since an idle worker gets all of the shards that it prefers.
    """

    plan: Plan
    run_id: str
    node: int
    shard_key: str
    attempt: int = 0
    token: int = FIRST_TOKEN
    trace: str = ""
    elsewhere: bool = False


class Dispatcher:
    """Turns ready nodes into messages."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    @property
    def is_open(self) -> bool:
        """What is published now goes out at once."""
        return self._publisher.state is LinkState.UP

    def publish(self, ready: Sequence[Ready], then: Callable[[], None] | None = None) -> None:
        """Publish; ``then`` is called when the broker has confirmed every message (at once for none)."""
        if ready:
            self._publisher.publish([outgoing(each) for each in ready], then)
        elif then is not None:
            then()


def outgoing(ready: Ready) -> Outgoing:
    """The message of a ready node."""
    message = NodeMessage(
        ready.run_id, ready.node, ready.attempt, ready.token, ready.plan.hash, ready.shard_key, None, ready.trace
    )
    plan = ready.plan
    key = plan.routing_key(ready.shard_key, ready.node)
    if ready.elsewhere:
        key = f"{key}#{ready.token}"
    return Outgoing(plan.pool_of(ready.node), key, encode_message(message))
