"""What was pushed of live settings, as a worker hears of it: announced, and looked for again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing

from taskmesh.app.assembly import Foundation
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed
from taskmesh.errors import StoreUnavailableError
from taskmesh.store.pushed_settings import PushedSettings, pushed_settings_of
from taskmesh.store.subscription import Subscription

LOOK_SECONDS = 5.0
"""How late a worker knows of a push whose announcement it has missed."""

_log = logging.getLogger(__name__)


class SettingsFeed:
    """Asks the store beside all else, in a thread of its own."""

    def __init__(self, store: PushedSettings, channel: str, subscribe: Callable[[], Subscription]) -> None:
        self._store = store
        self._channel = channel
        self._subscribe = subscribe
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pushed-settings", daemon=True)
        self._latest = NOTHING_PUSHED

    @classmethod
    def of(cls, foundation: Foundation) -> SettingsFeed:
        """Of the store that a foundation stands on."""
        link, channel = foundation.link, foundation.keys.settings_news
        return cls(pushed_settings_of(foundation.store), channel, lambda: Subscription(link))

    def latest(self) -> Pushed:
        """What was last seen to hold; asks nobody."""
        return self._latest

    def start(self) -> None:
        """Look once, so that a worker begins with what holds, and go on until ``stop``. A store may be away."""
        self._try(self._look)
        self._thread.start()

    def stop(self) -> None:
        """Look no more. The thread may wait for an announcement yet; the link may be closed all the same."""
        self._ending.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._try(self._listen)
            self._ending.wait(LOOK_SECONDS)
            self._try(self._look)

    def _listen(self) -> None:
        with closing(self._subscribe()) as subscription:
            subscription.follow(self._channel)
            while not self._ending.is_set():
                self._look()
                subscription.next(LOOK_SECONDS)

    def _look(self) -> None:
        self._latest = self._store.current()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreUnavailableError as error:
            # The processes of the worker say loudly enough that the store is away.
            _log.debug("what was pushed of the settings is not known: %s", error)
        except Exception:
            # The thread must outlive any single failure. What breaks as the link is closed under it is none.
            if not self._ending.is_set():
                _log.exception("what was pushed of the settings cannot be read")
