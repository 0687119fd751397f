"""Registered flows in the store: versions never change, one is active at most, nothing is done twice or by halves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import redis

from taskmesh.client.flow_versions import FlowBox
from taskmesh.errors import FlowError, FlowVersionError, StoreUnavailableError, TooLargeError, UsageError
from taskmesh.model.flow import Flow, Node
from taskmesh.model.flow_versions import MAX_MESSAGE_BYTES, FlowVersion, RegisteredFlow, VersionState
from taskmesh.store.calls import Who
from taskmesh.store.flow_versions import Answer, FlowBody, FlowVersions
from taskmesh.store.keys import Keys
from taskmesh.store.link import Link

DRAFT, INACTIVE, ACTIVE, ARCHIVED = VersionState
ME = Who("me", "since")
NOW = 1000.5


def flow(task: str = "w:a", name: str = "order") -> Flow:
    return Flow(name, "1", (Node("a", task),))


def body(number: int) -> FlowBody:
    return FlowBody(f"{number:032x}", f"body {number}".encode(), "1", 1)


class Side:
    """The registered flows of a namespace, raw and as people see them."""

    def __init__(self, link: Link, namespace: str) -> None:
        self.link, self.keys = link, Keys(namespace, 4)
        self.store = FlowVersions(link, self.keys, repr(NOW))
        self.box = FlowBox(self.store)

    def push(self, *tasks: str, **options: Any) -> list[FlowVersion]:
        return [self.box.push(flow(task), **options).version for task in tasks]

    def states(self) -> list[VersionState]:
        return [each.state for each in self.box.versions("order")][::-1]


@pytest.fixture
def side(any_link: Link, namespace: str) -> Side:
    return Side(any_link, namespace)


@pytest.fixture
def plain_side(link: Link, namespace: str) -> Side:
    return Side(link, namespace)


def test_every_change_is_a_version_and_the_same_content_is_not(side: Side) -> None:
    first = side.box.push(flow("w:a"), message="first", author="ada")
    second = side.box.push(flow("w:b"))
    again = side.box.push(flow("w:a"), message="again")

    assert (first.is_new, second.is_new, again.is_new) == (True, True, False)
    assert again.version == first.version
    assert replace(first.version, hash="") == FlowVersion(
        "order", 1, INACTIVE, "", "1", 1, author="ada", at=NOW, message="first"
    )
    assert second.version.number == 2
    assert side.box.definition("order@1") == flow("w:a")
    assert side.box.definition("order@2") == flow("w:b")
    assert list(side.box.list()) == [RegisteredFlow("order", latest=2, active=None)]


def test_what_is_pushed_is_checked_first_and_nothing_is_kept_of_what_is_wrong(side: Side) -> None:
    with pytest.raises(FlowError) as caught:
        side.box.push(Flow("order", "1", (Node("a b", "w:a"), Node("c", "w:c", needs=("nobody",)))))
    assert len(caught.value.problems) == 2
    with pytest.raises(UsageError, match="cannot be registered"):
        side.box.push(flow(name="shop:order"))
    with pytest.raises(UsageError, match="say it shorter"):
        side.box.push(flow(), message="é" * (MAX_MESSAGE_BYTES // 2) + "x")
    with pytest.raises(TooLargeError, match="at most"):
        side.box.push(Flow("order", "1", (Node("a", "w:a", {"text": "x" * (9 * 1024 * 1024)}),)))
    with pytest.raises(UsageError, match="not both"):
        side.box.push(flow(), draft=True, activate=True)
    assert side.box.list() == []


def test_the_message_may_be_as_long_as_it_is_said(side: Side) -> None:
    text = "é" * (MAX_MESSAGE_BYTES // 2)
    assert side.push("w:a", message=text)[0].message == text
    assert side.push("w:b", message="half a \udcc3 letter")[0].message == "half a ? letter"


def test_a_name_means_the_active_version_and_latest_the_newest_that_may_run(side: Side) -> None:
    side.push("w:a", "w:b", "w:c")
    side.push("w:draft", draft=True)
    with pytest.raises(FlowVersionError, match=r"no version of flow 'order' is active; .*activate order@4"):
        side.box.get("order")
    side.box.activate("order@1")
    side.box.archive("order@3")

    assert side.box.get("order").number == 1
    assert side.box.get("order@latest").number == 2
    assert side.box.plan("order@4").flow == flow("w:draft")
    assert side.states() == [ACTIVE, INACTIVE, ARCHIVED, DRAFT]
    with pytest.raises(FlowVersionError, match="order@3 is archived"):
        side.box.plan("order@3")
    with pytest.raises(FlowVersionError, match="no version 5; its newest is 4"):
        side.box.get("order@5")
    with pytest.raises(FlowVersionError, match="did you mean 'order'"):
        side.box.get("ordr")


def test_latest_is_found_behind_many_drafts(side: Side) -> None:
    side.push("w:a")
    for number in range(230):
        side.store.push("order", body(number), ME, is_draft=True)
    assert side.box.get("order@latest").number == 1
    side.box.archive("order@1")
    with pytest.raises(FlowVersionError, match="every version of flow 'order' is a draft or archived"):
        side.box.get("order@latest")


def test_one_version_is_active_and_a_draft_that_is_activated_is_none_any_more(side: Side) -> None:
    side.push("w:a", "w:b")
    side.push("w:c", draft=True)
    for number in (1, 2, 3):
        assert side.box.activate(f"order@{number}").state is ACTIVE
        assert side.states().count(ACTIVE) == 1
    side.box.activate("order@1")
    assert side.states() == [ACTIVE, INACTIVE, INACTIVE]


def test_activating_compares_with_what_was_expected(side: Side) -> None:
    side.push("w:a", "w:b", "w:c")
    with pytest.raises(FlowVersionError, match="no version of flow 'order' is active, but order@1 was expected"):
        side.box.activate("order@2", expected=1)
    side.box.activate("order@1", expected=0)
    side.box.activate("order@2", expected=1)
    # The answer may have been lost; to ask again is not to be refused.
    side.box.activate("order@2", expected=1)
    with pytest.raises(FlowVersionError, match=r"order@2 is active, but order@1 was expected.*nothing was done"):
        side.box.activate("order@3", expected=1)
    with pytest.raises(FlowVersionError, match="none was expected"):
        side.box.activate("order@3", expected=0)
    assert side.box.get("order").number == 2


def test_rolling_back_goes_back_step_by_step_and_passes_over_what_is_archived(side: Side) -> None:
    side.push("w:a", "w:b", "w:c", "w:d")
    for number in (1, 2, 3, 4):
        side.box.activate(f"order@{number}")
    side.box.archive("order@2")
    assert side.box.rollback("order").number == 3
    with pytest.raises(FlowVersionError, match="order@3 is active, but order@4 was expected"):
        side.box.rollback("order", expected=4)
    assert side.box.rollback("order", expected=3).number == 1
    with pytest.raises(FlowVersionError, match="no version of flow 'order' was active before"):
        side.box.rollback("order")
    side.box.restore("order@2")
    side.box.activate("order@2")
    assert side.box.rollback("order").number == 1


def test_a_rollback_that_is_repeated_goes_one_step(side: Side) -> None:
    side.push("w:a", "w:b", "w:c")
    for number in (1, 2, 3):
        side.box.activate(f"order@{number}")
    assert side.store.activate("order", 2, 3, ME, "rollback") == Answer("activated", 3)
    assert side.store.activate("order", 2, 3, ME, "rollback") == Answer("same")
    assert side.store.trail("order") == [1]


def test_the_way_back_is_bounded(side: Side) -> None:
    side.push("w:a", "w:b")
    for turn in range(110):
        side.store.activate("order", turn % 2 + 1, None, ME)
    trail = side.store.trail("order")
    assert len(trail) == 100
    assert trail[-1] == 1


def test_what_is_archived_is_kept_and_taken_back_as_it_was(side: Side) -> None:
    side.push("w:a", "w:b")
    side.push("w:c", draft=True)
    side.box.activate("order@1")
    with pytest.raises(FlowVersionError, match="order@1 is active and cannot be archived"):
        side.box.archive("order@1")
    for _ in range(2):
        assert side.box.archive("order@2").state is ARCHIVED
        assert side.box.archive("order@3").state is ARCHIVED
    with pytest.raises(FlowVersionError, match="flow restore order@2"):
        side.box.activate("order@2")
    assert side.box.definition("order@2") == flow("w:b")
    assert side.box.push(flow("w:b")).version.state is ARCHIVED, "the same content does not take it back"
    assert side.box.restore("order@2").state is INACTIVE
    assert side.box.restore("order@3").state is DRAFT
    assert side.box.restore("order@3").state is DRAFT


def test_the_log_says_who_did_what_and_why_and_nothing_twice(side: Side) -> None:
    side.push("w:a", "w:b", message="new", author="ada")
    side.push("w:b")
    for _ in range(2):
        side.store.activate("order", 1, None, Who("bob", "tested"))
    side.store.activate("order", 2, 1, ME)
    side.store.activate("order", 1, 2, ME, "rollback")
    for _ in range(2):
        side.store.archive("order", 2, ME)
        side.store.archive("order", 1, ME)
    side.store.restore("order", 2, ME)
    told = side.box.log("order")
    assert [(each.kind, each.number, each.before, each.by, each.why) for each in told] == [
        ("restore", 2, None, *ME),
        ("archive", 2, None, *ME),
        ("rollback", 1, 2, *ME),
        ("activate", 2, 1, *ME),
        ("activate", 1, None, "bob", "tested"),
        ("push", 2, None, "ada", "new"),
        ("push", 1, None, "ada", "new"),
    ]
    assert {each.at for each in told} == {NOW}
    assert side.box.log("order", 2) == told[:2]


def test_versions_come_in_pages(side: Side) -> None:
    for number in range(7):
        side.store.push("order", body(number), ME, is_draft=False)
    assert [each.number for each in side.box.versions("order", 3)] == [7, 6, 5]
    assert [each.number for each in side.box.versions("order", 3, before=5)] == [4, 3, 2]
    assert [each.number for each in side.box.versions("order", 3, before=2)] == [1]
    assert side.box.versions("order", 3, before=1) == []
    with pytest.raises(FlowVersionError, match="no flow 'nobody'"):
        side.box.versions("nobody")


def test_a_version_is_found_by_the_hash_that_runs_know(side: Side) -> None:
    [version] = side.push("w:a")
    assert side.store.number_of("order", version.hash) == 1
    assert side.store.number_of("order", "f" * 32) is None
    assert side.store.number_of("nobody", version.hash) is None


def test_what_differs_is_told_of_versions_and_of_flows(side: Side) -> None:
    side.push("w:a", "w:b")
    [difference] = side.box.diff("order@1", flow("w:b"))
    assert (difference.path, difference.before, difference.after) == (("nodes", "a", "task"), "w:a", "w:b")
    assert side.box.diff("order@2", flow("w:b")) == ()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What calls answer that are made at the same time."""
    barrier = threading.Barrier(len(calls))

    def wait_and(call: Callable[[], Any]) -> Any:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(wait_and, calls))


def test_pushes_at_once_get_a_number_each_and_the_same_content_gets_one(side: Side) -> None:
    bodies = [body(number) for number in range(6)] * 2
    answers = at_once(*(partial(side.store.push, "order", each, ME, False) for each in bodies))
    assert sorted(each.number for each in answers if each.word == "pushed") == [1, 2, 3, 4, 5, 6]
    assert [first.number for first in answers[:6]] == [second.number for second in answers[6:]]
    assert {side.store.number_of("order", each.hash) for each in bodies} == {1, 2, 3, 4, 5, 6}


def test_to_activate_and_to_archive_at_once_is_one_of_both(side: Side) -> None:
    for number in range(1, 21):
        side.store.push("order", body(number), ME, False)
        words = {
            each.word
            for each in at_once(
                partial(side.store.activate, "order", number, None, ME),
                partial(side.store.archive, "order", number, ME),
            )
        }
        assert words in ({"activated", "active"}, {"archived"})
        state = side.box.get(f"order@{number}").state
        assert state is (ARCHIVED if words == {"archived"} else ACTIVE)


def test_of_two_that_expect_the_same_one_is_refused(side: Side) -> None:
    for number in range(3):
        side.store.push("order", body(number), ME, False)
    side.store.activate("order", 1, None, ME)
    answers = at_once(lambda: side.store.activate("order", 2, 1, ME), lambda: side.store.activate("order", 3, 1, ME))
    assert {each.word for each in answers} == {"activated", "moved"}


def test_nothing_of_a_registered_flow_expires(plain_side: Side, client: redis.Redis, namespace: str) -> None:
    plain_side.push("w:a", "w:b")
    plain_side.box.activate("order@1")
    plain_side.box.archive("order@2")
    keys = list(client.scan_iter(f"{namespace}:*"))
    assert len(keys) == 4
    assert {client.ttl(key) for key in keys} == {-1}


def test_a_lost_body_is_told(plain_side: Side, client: redis.Redis) -> None:
    [version] = plain_side.push("w:a")
    client.delete(plain_side.keys.flow_body("order", version.hash))
    with pytest.raises(FlowVersionError, match="has lost the body of order@1"):
        FlowBox(plain_side.store).definition("order@1")


CALLS: dict[str, Callable[[FlowVersions], Any]] = {
    "push": lambda store: store.push("order", body(9), ME, False),
    "push again": lambda store: store.push("order", body(1), ME, False),
    "activate": lambda store: store.activate("order", 1, None, ME),
    "roll back": lambda store: store.activate("order", 1, 2, ME, "rollback"),
    "archive": lambda store: store.archive("order", 1, ME),
    "restore": lambda store: store.restore("order", 3, ME),
}
WRONG: dict[str, Callable[[Keys], str]] = {
    "flow": lambda keys: keys.flow_versions("order"),
    "body": lambda keys: keys.flow_body("order", body(9).hash),
    "body that is there": lambda keys: keys.flow_body("order", body(1).hash),
    "names": lambda keys: keys.flow_names,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_meets_a_key_of_another_type_has_written_nothing(
    plain_side: Side, client: redis.Redis, namespace: str, call: str, wrong: str
) -> None:
    for number in (1, 2, 3):
        plain_side.store.push("order", body(number), ME, False)
    plain_side.store.activate("order", 1, None, ME)
    plain_side.store.activate("order", 2, None, ME)
    plain_side.store.archive("order", 3, ME)
    key = WRONG[wrong](plain_side.keys)
    client.delete(key)
    client.set(key, "of another type")
    before = {each: client.dump(each) for each in client.scan_iter(f"{namespace}:*")}
    try:
        CALLS[call](plain_side.store)
    except StoreUnavailableError:
        assert {each: client.dump(each) for each in client.scan_iter(f"{namespace}:*")} == before
    else:
        # A key that this call had no need of.
        assert client.get(key) == b"of another type"
