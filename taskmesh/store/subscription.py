"""Sharded publish and subscribe: how a waiting client hears of a run without asking again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
            # What comes before it belongs to channels that were left, or is asked for again after a lost connection.
            while not _confirms(self._next_raw(), channel):
                continue

    def leave(self, channel: str) -> None:
        """Returns at once: a caller who has heard what he waited for need not wait for the server's word on this."""
        with translated():
            self._pubsub.sunsubscribe(channel)

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

    def _next_raw(self) -> Any:
        message = None
        while message is None:
            message = self._pubsub.get_sharded_message(timeout=_CONFIRM_SECONDS)
            if message is None:
                raise TimeoutError("the subscription was not confirmed")
        return message


_CONFIRM_SECONDS = 5.0


def _confirms(message: Mapping[str, Any], channel: str) -> bool:
    return bool(message["type"] == "ssubscribe" and message["channel"] == channel.encode())


SubscriptionOpener: TypeAlias = Callable[[], Subscription]
