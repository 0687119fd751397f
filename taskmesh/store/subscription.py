"""Sharded publish and subscribe: how a waiting client hears of a run without asking again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from taskmesh.store.link import Link, translated


class Subscription:
    """Follows one channel at a time. For one thread at a time."""

    def __init__(self, link: Link) -> None:
        self._pubsub = link.pubsub()

    def follow(self, channel: str) -> None:
        """Returns when the server has confirmed: nothing that is announced from now on is missed."""
        with translated():
            self._pubsub.ssubscribe(channel)
            self._skip_to("ssubscribe")

    def leave(self, channel: str) -> None:
        with translated():
            self._pubsub.sunsubscribe(channel)
            self._skip_to("sunsubscribe")

    def next(self, timeout_seconds: float) -> bytes | None:
        """The next announcement, or None when the time is over.

        :raises StoreUnavailableError: the connection broke; announcements may have been missed.
        """
        with translated():
            message = self._pubsub.get_sharded_message(timeout=timeout_seconds)
        if message is None or message["type"] != "smessage":
            return None
        data: bytes = message["data"]
        return data

    def close(self) -> None:
        with translated():
            self._pubsub.close()

    def _skip_to(self, kind: str) -> None:
        while self._next_raw()["type"] != kind:
            continue

    def _next_raw(self) -> Any:
        message = None
        while message is None:
            message = self._pubsub.get_sharded_message(timeout=_CONFIRM_SECONDS)
            if message is None:
                raise TimeoutError("the subscription was not confirmed")
        return message


_CONFIRM_SECONDS = 5.0

SubscriptionOpener: TypeAlias = Callable[[], Subscription]
