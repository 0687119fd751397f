"""How a worker hears of pushed settings: announced, looked for again, and whatever becomes of the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

import pytest

from taskmesh.app import settings_feed
from taskmesh.app.settings_feed import SettingsFeed
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed
from taskmesh.errors import StoreUnavailableError

PATIENCE_SECONDS = 30.0
FIRST, SECOND = Pushed(1, {"log.level": "debug"}), Pushed(2)


class FakeStore:
    """What holds, a subscription to it, and signals for what a feed does."""

    def __init__(self) -> None:
        self.holds = FIRST
        self.is_away = self.refuses_subscriptions = False
        self.steps: SimpleQueue[str] = SimpleQueue()
        self.announcements: SimpleQueue[bytes] = SimpleQueue()
        self.listening = threading.Event()

    def current(self) -> Pushed:
        self._answer(self.is_away)
        self.steps.put("look")
        return self.holds

    def follow(self, channel: str) -> None:
        assert channel == "mesh:{settings}:news"
        self._answer(self.is_away or self.refuses_subscriptions)

    def next(self, timeout_seconds: float) -> bytes | None:
        self.listening.set()
        self.steps.put("wait")
        try:
            return self.announcements.get(timeout=timeout_seconds)
        except Empty:
            return None

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, is_away: bool) -> None:
        if is_away:
            raise StoreUnavailableError("Redis does not answer")


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def feed(store: FakeStore) -> Iterator[SettingsFeed]:
    feed = SettingsFeed(store, "mesh:{settings}:news", lambda: store)  # type: ignore[arg-type, return-value]
    yield feed
    feed.stop()
    store.announcements.put(b"")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other closely."""
    monkeypatch.setattr(settings_feed, "LOOK_SECONDS", 0.01)


def until(condition: Callable[[], bool], store: FakeStore) -> None:
    """Wait step by step: after a look, what it has found is known with the next step."""
    while not condition():
        store.steps.get(timeout=PATIENCE_SECONDS)


def test_what_holds_is_known_from_the_start(feed: SettingsFeed) -> None:
    assert feed.latest() == NOTHING_PUSHED
    feed.start()
    assert feed.latest() == FIRST


def test_an_announcement_has_it_look_at_once(
    feed: SettingsFeed, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_feed, "LOOK_SECONDS", 3600.0)
    feed.start()
    assert store.listening.wait(PATIENCE_SECONDS)
    store.holds = SECOND
    store.announcements.put(b"2")
    until(lambda: feed.latest() == SECOND, store)


@pytest.mark.usefixtures("quick")
def test_what_was_not_announced_is_found_all_the_same(feed: SettingsFeed, store: FakeStore) -> None:
    feed.start()
    assert store.listening.wait(PATIENCE_SECONDS)
    store.holds = SECOND
    until(lambda: feed.latest() == SECOND, store)


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_away_is_asked_until_it_answers(feed: SettingsFeed, store: FakeStore) -> None:
    store.is_away = True
    feed.start()
    assert feed.latest() == NOTHING_PUSHED
    store.is_away = False
    until(lambda: feed.latest() == FIRST, store)


@pytest.mark.usefixtures("quick")
def test_who_may_not_subscribe_still_looks(feed: SettingsFeed, store: FakeStore) -> None:
    store.refuses_subscriptions = True
    feed.start()
    store.holds = SECOND
    until(lambda: feed.latest() == SECOND, store)
    assert not store.listening.is_set()
