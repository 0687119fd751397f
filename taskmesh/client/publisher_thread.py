"""A publisher for producer apps: the broker's connection lives on a thread of its own, and is fed from any thread.

pika serves heartbeats only while its loop runs, so a connection that belongs to an app's own thread dies when the app
is busy or idle. This thread does nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from taskmesh.broker.protocol import DirectMessage, LinkState, Outgoing, Publisher
from taskmesh.errors import BrokerUnavailableError, TaskmeshError

MAX_WAITING = 20_000
"""Messages that may wait for their confirm before a caller has to wait too (about 10 MB)."""


_log = logging.getLogger(__name__)


class PublisherThread:
    """Publishes from any thread. Made for one process; see ``Client`` for forks."""

    def __init__(
        self, open_publisher: Callable[[Callable[[TaskmeshError], None]], Publisher], deadline_seconds: float
    ) -> None:
        self._open_publisher = open_publisher
        self._deadline_seconds = deadline_seconds
        self._waiting: deque[Outgoing | DirectMessage] = deque()
        self._room = threading.Condition()
        self._unconfirmed = 0
        self._congested = False
        self._woken = False
        self._publisher: Publisher | None = None
        self._fatal: str | None = None
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskmesh-publisher", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def state(self) -> LinkState:
        return self._publisher.state if self._publisher else LinkState.DOWN

    @property
    def fatal(self) -> str | None:
        """Why publishing cannot work until somebody mends it (credentials, a missing plugin), or None."""
        return self._fatal

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages over. Blocks while too many wait, but never longer than the deadline.

        The store knows the nodes of these messages, so the keeper publishes what does not reach the broker from here:
        where there is no room after that time, or the broker refuses for good, they are left to it. Nobody waits again
        before the broker has confirmed something.
        """
        with self._room:
            if not self._await_room():
                return
            self._unconfirmed += len(messages)
            self._waiting.extend(messages)
            wake, self._woken = not self._woken, True
        if wake:
            self._loop.call_soon_threadsafe(self._hand_over)

    def deliver(self, messages: Sequence[Outgoing | DirectMessage], timeout_seconds: float) -> None:
        """Publish, and block until the broker has confirmed all of it.

        :raises BrokerUnavailableError: it has not, in time or for good; the messages may yet arrive.
        """
        confirmed = threading.Event()
        with self._room:
            self._room.wait_for(lambda: self._publisher is not None or self._fatal is not None, timeout_seconds)
            publisher = self._publisher
        if self._fatal is None and publisher is not None:
            self._loop.call_soon_threadsafe(publisher.publish, messages, lambda: self._note_delivery(confirmed))
            with self._room:
                self._room.wait_for(lambda: confirmed.is_set() or self._fatal is not None, timeout_seconds)
        if not confirmed.is_set():
            why = self._fatal or f"the broker has not confirmed within {timeout_seconds:g} s; check that it runs"
            raise BrokerUnavailableError(why)

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until the broker has confirmed everything; False when the time was over first."""
        with self._room:
            return self._room.wait_for(lambda: self._unconfirmed == 0 or self._fatal is not None, timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        """Publish what waits, as far as the time allows, and end the thread; once is enough, twice does no harm."""
        self.drain(timeout_seconds)
        with self._room:
            self._fatal = self._fatal or "closed"
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_seconds)

    def _await_room(self) -> bool:
        if not self._congested:
            self._congested = not self._room.wait_for(self._has_room, self._deadline_seconds)
        return self._fatal is None and self._has_room()

    def _has_room(self) -> bool:
        return self._unconfirmed < MAX_WAITING or self._fatal is not None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._started.set)
        opening = self._loop.create_task(self._open())
        self._loop.run_forever()
        opening.cancel()
        if self._publisher is not None:
            self._loop.run_until_complete(self._publisher.close())
        self._loop.close()

    async def _open(self) -> None:
        try:
            publisher = self._open_publisher(self._give_up)
            await publisher.start()
        except Exception as error:
            self._give_up(error)
            return
        with self._room:
            self._publisher = publisher
            self._room.notify_all()
        self._hand_over()

    def _give_up(self, error: Exception) -> None:
        _log.error("this process publishes nothing; the keeper of a worker will: %s", error)
        with self._room:
            self._fatal = str(error)
            self._waiting.clear()
            self._room.notify_all()

    def _hand_over(self) -> None:
        if self._publisher is None:
            return
        with self._room:
            messages = list(self._waiting)
            self._waiting.clear()
            self._woken = False
        if messages:
            self._publisher.publish(messages, lambda: self._confirmed(len(messages)))

    def _note_delivery(self, confirmed: threading.Event) -> None:
        confirmed.set()
        with self._room:
            self._room.notify_all()

    def _confirmed(self, count: int) -> None:
        with self._room:
            self._unconfirmed -= count
            self._congested = False
            self._room.notify_all()
