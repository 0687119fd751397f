"""Pushed settings in the store: revisions that never change, the newest holds, nothing is done twice or by halves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from taskmesh.app.settings_feed import SettingsFeed
from taskmesh.client.pushed_settings import PushedRevision, SettingsBox
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed
from taskmesh.errors import ConfigError, StoreUnavailableError, UsageError, WireError
from taskmesh.model.checkup.settings_rules import SettingsReport
from taskmesh.model.settings_revisions import SettingsRevision
from taskmesh.store.calls import Who
from taskmesh.store.elections import Elections
from taskmesh.store.flow_versions import Answer
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.link import Link
from taskmesh.store.pushed_settings import PushedSettings
from taskmesh.store.subscription import Subscription
from taskmesh.wire import pack

ME = Who("me", "since")
NOW = 1000.5
LOUD: dict[str, Any] = {"log.level": "debug"}
QUICK: dict[str, Any] = {"worker.drain_seconds": 1.0}
PATIENCE_SECONDS = 30.0


class Side:
    """The pushed settings of a namespace, raw and as people see them."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.link, self.keys = link, Keys(namespace, 4)
        self.store = PushedSettings(link, self.keys, repr(NOW))
        self.housekeeping = Housekeeping(link, self.keys, 3600)
        self.box = SettingsBox(self.store, self.housekeeping)


@pytest.fixture
def side(any_link: Link, namespace: str) -> Side:
    return Side(any_link, namespace)


@pytest.fixture
def plain_side(link: Link, namespace: str) -> Side:
    return Side(link, namespace)


def number_of(pushed: PushedRevision) -> int:
    return pushed.revision.number if pushed.revision else 0


def test_every_push_is_a_revision_and_what_holds_already_is_none(side: Side) -> None:
    assert side.store.current() == NOTHING_PUSHED
    assert side.box.current() is None
    first = side.box.push({"log": {"level": "debug"}}, message="look closer", author="ada")
    assert first == PushedRevision(SettingsRevision(1, "push", NOW, "ada", "look closer", 0, LOUD), is_new=True)
    again = side.box.push(LOUD, message="again")
    assert again == PushedRevision(first.revision, is_new=False)
    second = side.box.push({"worker.drain_seconds": 1})
    assert second.revision is not None
    assert (second.revision.number, second.revision.values) == (2, QUICK)
    assert side.store.current() == Pushed(2, QUICK)
    assert side.box.current() == second.revision
    assert side.box.get(1) == first.revision


def test_what_is_pushed_is_checked_first_and_nothing_is_kept_of_what_is_wrong(side: Side) -> None:
    with pytest.raises(ConfigError) as caught:
        side.box.push({**LOUD, "worker.threads": 3, "log.format": "xml", "log.levl": 1})
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == [
        "worker.threads",
        "log.format",
        "log.levl",
    ]
    with pytest.raises(ConfigError, match="there is no setting to push"):
        side.box.push({})
    with pytest.raises(UsageError, match="say it shorter"):
        side.box.push(LOUD, message="x" * 1001)
    assert (side.box.current(), side.box.log()) == (None, [])


def test_a_change_goes_over_what_holds(side: Side) -> None:
    side.box.push(LOUD)
    changed = side.box.change({"worker.drain_seconds": 1.0})
    assert changed.revision is not None
    assert changed.revision.values == {**LOUD, **QUICK}
    assert side.box.push(QUICK).revision == side.box.current()
    assert side.store.current() == Pushed(3, QUICK)


def test_to_roll_back_and_to_unset_are_revisions_of_their_own(side: Side) -> None:
    assert side.box.unset() == PushedRevision(None, is_new=False)
    side.box.push(LOUD)
    side.box.push(QUICK)
    assert number_of(side.box.rollback(1, message="too quick")) == 3
    assert side.store.current() == Pushed(3, LOUD)
    assert side.box.rollback(1).is_new is False
    assert number_of(side.box.unset(message="all is well")) == 4
    assert side.store.current() == Pushed(4, {})
    told = [(each.number, each.kind, each.of, each.values, each.why) for each in side.box.log()]
    assert told == [
        (4, "unset", 0, {}, "all is well"),
        (3, "rollback", 1, LOUD, "too quick"),
        (2, "push", 0, QUICK, ""),
        (1, "push", 0, LOUD, ""),
    ]
    assert [each.number for each in side.box.log(2, before=4)] == [3, 2]
    with pytest.raises(UsageError, match="there is no revision 9 of the pushed settings: the newest is 4"):
        side.box.rollback(9)


def test_a_push_that_is_repeated_is_done_once(side: Side) -> None:
    for _ in range(2):
        assert side.store.push(LOUD, ME, 0).number == 1
    assert side.store.push(QUICK, ME, 1) == Answer("pushed", 2)
    assert side.store.push(QUICK, ME, 1) == Answer("same", 2)
    assert side.store.push(LOUD, ME, 1) == Answer("moved", 2)
    assert [each.number for each in side.box.log()] == [2, 1]


def test_of_pushes_at_once_that_expect_the_same_one_is_refused(side: Side) -> None:
    values = [{"worker.drain_seconds": float(number)} for number in range(8)]
    with ThreadPoolExecutor(len(values)) as pool:
        answers = list(pool.map(lambda each: side.store.push(each, ME, 0), values))
    assert sorted(each.word for each in answers) == [*["moved"] * 7, "pushed"]
    with pytest.raises(UsageError, match="revision 1 is the newest, but 0 was expected: somebody else"):
        side.box.push({"log.format": "json"}, expected=0)


def test_the_newest_revisions_are_kept(plain_side: Side, client: redis.Redis) -> None:
    for number in range(1, 1004):
        plain_side.store.push({"worker.drain_seconds": float(number)}, ME)
    assert len(plain_side.box.log(2000)) == 1000
    assert plain_side.box.get(4).values == {"worker.drain_seconds": 4.0}
    with pytest.raises(
        UsageError, match="no revision 3 of the pushed settings: the newest is 1003, and the newest 1,000"
    ):
        plain_side.box.rollback(3)
    assert client.hlen(plain_side.keys.pushed_settings) == 2002
    assert client.ttl(plain_side.keys.pushed_settings) == -1


def test_a_push_is_announced_and_who_starts_later_finds_it(side: Side) -> None:
    listening = Subscription(side.link)
    listening.follow(side.keys.settings_news)
    side.box.push(LOUD)
    side.box.push(LOUD)
    side.box.push(QUICK)
    assert [listening.next(PATIENCE_SECONDS) for _ in range(2)] == [b"1", b"2"]
    assert listening.next(0.05) is None
    listening.close()
    feed = SettingsFeed(side.store, side.keys.settings_news, lambda: Subscription(side.link))
    feed.start()
    feed.stop()
    assert feed.latest() == Pushed(2, QUICK)


def test_workers_and_keepers_tell_what_they_hold(side: Side) -> None:
    worker, keeper, gone = SettingsReport("ab", 2), SettingsReport("cd", 1, is_refused=True), SettingsReport("ef")
    side.housekeeping.announce_pools(["io"])
    side.housekeeping.serve_pools("worker", ["io"], 60)
    Elections(side.link, side.keys).stand("keeper", side.housekeeping.time(), 60)
    for holder, report in {"worker": worker, "keeper": keeper, "gone": gone}.items():
        side.housekeeping.report_settings(holder, report, 60)
    assert side.box.workers() == {"keeper": keeper, "worker": worker}


def test_a_push_that_meets_a_key_of_another_type_has_written_nothing(plain_side: Side, client: redis.Redis) -> None:
    client.set(plain_side.keys.pushed_settings, "of another type")
    calls: list[Callable[[], Any]] = [lambda: plain_side.store.push(LOUD, ME), plain_side.store.current]
    for call in calls:
        with pytest.raises(StoreUnavailableError):
            call()
    assert client.get(plain_side.keys.pushed_settings) == b"of another type"


def test_values_that_are_none_are_told(plain_side: Side, client: redis.Redis) -> None:
    plain_side.store.push(LOUD, ME)
    client.hset(plain_side.keys.pushed_settings, "values", pack([1]))
    with pytest.raises(WireError, match="damaged"):
        plain_side.store.current()
