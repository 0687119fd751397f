"""Listening to runs: a tap is a subscription that one thread uses at a time and that is used again afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.subscription import Subscription, SubscriptionOpener

MAX_IDLE = 16


class Taps:
    """Subscriptions, kept open between uses."""

    def __init__(self, open_subscription: SubscriptionOpener) -> None:
        self._open_subscription = open_subscription
        self._idle: list[Subscription] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def listen(self, channel: str) -> Iterator[Subscription]:
        """A subscription to ``channel`` that is in force when the block begins.

        :raises StoreUnavailableError: the store does not answer.
        """
        subscription = self._take()
        try:
            subscription.follow(channel)
            yield subscription
            subscription.leave(channel)
        except BaseException:
            subscription.close()
            raise
        self._put_back(subscription)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for subscription in idle:
            with contextlib.suppress(StoreUnavailableError):
                subscription.close()

    def _take(self) -> Subscription:
        with self._lock:
            return self._idle.pop() if self._idle else self._open_subscription()

    def _put_back(self, subscription: Any) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(subscription)
                return
        subscription.close()
