"""A subscription leaves a channel without waiting; what the server says of it later is not taken for anything else."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.link import Command, Conversation, Reply
from taskmesh.store.subscription import Subscription


class FakePubSub:
    """Answers with what the test has put there; None says that the time is over."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.coming: deque[dict[str, Any] | None] = deque()

    def ssubscribe(self, channel: str) -> None:
        self.sent.append(("ssubscribe", channel))

    def sunsubscribe(self, channel: str) -> None:
        self.sent.append(("sunsubscribe", channel))

    def get_sharded_message(self, timeout: float) -> dict[str, Any] | None:
        return self.coming.popleft()

    def say(self, kind: str, channel: str, data: Any = 1) -> None:
        self.coming.append({"type": kind, "pattern": None, "channel": channel.encode(), "data": data})


class FakeLink:
    def __init__(self) -> None:
        self.pubsub_of_redis = FakePubSub()

    def begin(self, commands: Sequence[Command]) -> Conversation:
        raise NotImplementedError

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        raise NotImplementedError

    def pubsub(self) -> FakePubSub:
        return self.pubsub_of_redis

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def pubsub() -> FakePubSub:
    return FakePubSub()


@pytest.fixture
def subscription(pubsub: FakePubSub) -> Subscription:
    link = FakeLink()
    link.pubsub_of_redis = pubsub
    return Subscription(link)


def test_leaving_waits_for_nothing(subscription: Subscription, pubsub: FakePubSub) -> None:
    pubsub.say("ssubscribe", "a")
    subscription.follow("a")
    subscription.leave("a")
    assert pubsub.sent == [("ssubscribe", "a"), ("sunsubscribe", "a")]


def test_what_comes_late_of_a_channel_that_was_left_is_skipped(subscription: Subscription, pubsub: FakePubSub) -> None:
    pubsub.say("ssubscribe", "a")
    subscription.follow("a")
    subscription.leave("a")
    pubsub.say("smessage", "a", b"succeeded")
    pubsub.say("sunsubscribe", "a")
    pubsub.say("ssubscribe", "b")
    pubsub.say("smessage", "b", b"failed")
    subscription.follow("b")
    assert subscription.next(1.0) == b"failed"


def test_a_lost_connection_asks_for_left_channels_again_and_they_are_skipped(
    subscription: Subscription, pubsub: FakePubSub
) -> None:
    pubsub.say("ssubscribe", "a")
    pubsub.say("ssubscribe", "b")
    subscription.follow("b")
    assert not pubsub.coming


def test_a_subscription_that_is_not_confirmed_says_so(subscription: Subscription, pubsub: FakePubSub) -> None:
    pubsub.coming.append(None)
    with pytest.raises(StoreUnavailableError):
        subscription.follow("a")
