"""The producer's publisher thread: bounded in memory, and never a reason to wait longer than the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from taskmesh.broker.protocol import LinkState, Message, Outgoing
from taskmesh.client import publisher_thread
from taskmesh.client.publisher_thread import PublisherThread
from taskmesh.errors import BrokerUnavailableError, TaskmeshError

PATIENCE_SECONDS = 10.0
DEADLINE_SECONDS = 0.2
ROOM = 10


class HeldPublisher:
    """Confirms when it is told to. Lives on the thread's loop; the test looks at it from another."""

    state = LinkState.UP
    unconfirmed = 0

    def __init__(self, on_fatal: Callable[[TaskmeshError], None]) -> None:
        self.on_fatal = on_fatal
        self.messages: list[Message] = []
        self.batches: list[Callable[[], None]] = []
        self.arrived = threading.Condition()
        self.closed = False

    async def start(self) -> None: ...

    def publish(self, messages: Sequence[Message], then: Callable[[], None] | None = None) -> None:
        assert then is not None
        with self.arrived:
            self.messages += messages
            self.batches.append(then)
            self.arrived.notify_all()

    def wait_for(self, count: int) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= count, PATIENCE_SECONDS)

    def confirm_all(self) -> None:
        for then in self.batches:
            then()
        self.batches.clear()

    async def drain(self, timeout_seconds: float) -> bool:
        return True

    async def close(self) -> None:
        self.closed = True


class Opener:
    """Opens publishers, and keeps the one."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault
        self._opened: Future[HeldPublisher] = Future()

    @property
    def publisher(self) -> HeldPublisher:
        """As soon as the thread has opened it."""
        return self._opened.result(PATIENCE_SECONDS)

    def __call__(self, on_fatal: Callable[[TaskmeshError], None]) -> HeldPublisher:
        if self._fault is not None:
            raise self._fault
        publisher = HeldPublisher(on_fatal)
        self._opened.set_result(publisher)
        return publisher


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_thread, "MAX_WAITING", ROOM)


@contextmanager
def running(opener: Opener) -> Iterator[PublisherThread]:
    thread = PublisherThread(opener, DEADLINE_SECONDS)
    try:
        yield thread
    finally:
        thread.close(0.5)


def _messages(count: int) -> list[Outgoing]:
    return [Outgoing("default", str(number), b"body") for number in range(count)]


def _publish_often(thread: PublisherThread, count: int, times: int) -> None:
    for _ in range(times):
        thread.publish(_messages(count))


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def test_what_is_published_is_confirmed() -> None:
    opener = Opener()
    with running(opener) as thread:
        thread.publish(_messages(3))
        opener.publisher.wait_for(3)
        assert not thread.drain(0.01)
        opener.publisher.confirm_all()
        assert thread.drain(PATIENCE_SECONDS)
    assert opener.publisher.closed


def test_a_full_broker_holds_a_caller_up_once_and_then_no_more() -> None:
    opener = Opener()
    with running(opener) as thread:
        thread.publish(_messages(ROOM))
        opener.publisher.wait_for(ROOM)
        assert _seconds(lambda: thread.publish(_messages(1))) >= DEADLINE_SECONDS
        assert _seconds(lambda: _publish_often(thread, 1, 100)) < DEADLINE_SECONDS
        opener.publisher.confirm_all()
        assert thread.drain(PATIENCE_SECONDS), "what found no room is the keeper's, and nobody waits for it"
        thread.publish(_messages(2))
        opener.publisher.wait_for(ROOM + 2)
        assert len(opener.publisher.messages) == ROOM + 2


def test_a_caller_that_waits_goes_on_when_there_is_room() -> None:
    opener = Opener()
    with running(opener) as thread:
        thread.publish(_messages(ROOM))
        opener.publisher.wait_for(ROOM)
        caller = threading.Thread(target=thread.publish, args=(_messages(2),))
        caller.start()
        opener.publisher.confirm_all()
        caller.join(PATIENCE_SECONDS)
        opener.publisher.wait_for(ROOM + 2)


def test_a_broker_that_refuses_for_good_is_told_and_takes_no_memory() -> None:
    opener = Opener()
    with running(opener) as thread:
        thread.publish(_messages(1))
        opener.publisher.wait_for(1)
        opener.publisher.on_fatal(BrokerUnavailableError("wrong password"))
        assert thread.fatal == "wrong password"
        assert _seconds(lambda: _publish_often(thread, ROOM, 50)) < DEADLINE_SECONDS
        assert thread.drain(0.0)
        assert len(opener.publisher.messages) == 1


@pytest.mark.parametrize("fault", [BrokerUnavailableError("no broker"), ImportError("no driver")])
def test_a_publisher_that_cannot_be_made_blocks_nobody(fault: Exception) -> None:
    with running(Opener(fault)) as thread:
        assert _seconds(lambda: _publish_often(thread, ROOM, 50)) < DEADLINE_SECONDS * 2
        assert thread.fatal == str(fault)


def test_publishing_after_the_end_is_left_to_the_keeper() -> None:
    opener = Opener()
    with running(opener) as thread:
        thread.close(PATIENCE_SECONDS)
        thread.publish(_messages(1))


def test_many_threads_lose_nothing() -> None:
    opener = Opener()
    with running(opener) as thread:
        callers = [threading.Thread(target=thread.publish, args=(_messages(1),)) for _ in range(ROOM)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(PATIENCE_SECONDS)
        opener.publisher.wait_for(ROOM)


def test_delivering_waits_for_the_confirm() -> None:
    opener = Opener()
    thread = PublisherThread(opener, DEADLINE_SECONDS)
    done = threading.Event()

    def deliver() -> None:
        thread.deliver([Outgoing("p", "k", b"x")], PATIENCE_SECONDS)
        done.set()

    caller = threading.Thread(target=deliver)
    caller.start()
    try:
        opener_is_there(opener).wait_for(1)
        assert not done.is_set()
        opener.publisher.confirm_all()
        assert done.wait(PATIENCE_SECONDS)
    finally:
        caller.join(PATIENCE_SECONDS)
        thread.close(DEADLINE_SECONDS)


def test_a_delivery_that_is_not_confirmed_is_told() -> None:
    thread = PublisherThread(Opener(), DEADLINE_SECONDS)
    try:
        with pytest.raises(BrokerUnavailableError, match=r"has not confirmed within 0\.1 s"):
            thread.deliver([Outgoing("p", "k", b"x")], 0.1)
    finally:
        thread.close(DEADLINE_SECONDS)


def test_a_delivery_to_a_broker_that_refuses_is_told_at_once() -> None:
    thread = PublisherThread(Opener(BrokerUnavailableError("no such user")), DEADLINE_SECONDS)
    try:
        with pytest.raises(BrokerUnavailableError, match="no such user"):
            thread.deliver([Outgoing("p", "k", b"x")], PATIENCE_SECONDS)
    finally:
        thread.close(DEADLINE_SECONDS)


def opener_is_there(opener: Opener) -> HeldPublisher:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not hasattr(opener, "publisher"):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return opener.publisher
