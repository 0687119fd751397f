"""The way of a test, and of the app under it, into a virtual mesh."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from taskmesh.app.assembly import Foundation
from taskmesh.app.producer import Producer
from taskmesh.broker.protocol import DirectMessage, Outgoing
from taskmesh.client.taps import Taps
from taskmesh.errors import UsageError
from taskmesh.store.link import Link, translated
from taskmesh.store.subscription import Subscription
from taskmesh.tasks.registry import Registry
from taskmesh.testing.road import Road
from taskmesh.testing.world import World


class VirtualProducer(Producer):
    """Submits to the world, and has it go on while somebody waits for a run."""

    def __init__(self, foundation: Foundation, world: World, road: Road, prepare: Callable[[], None]) -> None:
        """``prepare`` is called before somebody waits."""
        taps = Taps(lambda: VirtualSubscription(foundation.link, world, prepare))
        # Nothing that is announced is lost here, and a store that is away is so for virtual time.
        super().__init__(foundation, _Outlet(world, road), taps, store_reset_seconds=0, look_again_seconds=math.inf)

    @contextlib.contextmanager
    def working(self, registry: Registry, threads: int, pools: Sequence[str], watch_flows: bool) -> Iterator[None]:
        """A worker is there already."""
        if watch_flows:
            raise UsageError("a virtual mesh watches no flow files; push them with mesh.flows.push")
        yield


class VirtualSubscription(Subscription):
    """A subscription whose subscriber lets the world go on while it waits."""

    def __init__(self, link: Link, world: World, prepare: Callable[[], None]) -> None:
        super().__init__(link)
        self._world = world
        self._prepare = prepare
        self._heard: deque[bytes] = deque()
        self._pings = count()

    def next(self, timeout_seconds: float) -> bytes | None:
        self._prepare()
        self._world.wait(self._has_heard, self._world.now() + timeout_seconds)
        return self._heard.popleft() if self._heard else None

    def leave(self, channel: str) -> None:
        super().leave(channel)
        self._heard.clear()

    def _has_heard(self) -> bool:
        """Whether anything has been announced by now: what comes behind the answer to a ping does not exist yet."""
        ping = f"{next(self._pings)}"
        with translated():
            self._pubsub.ping(ping)
            while (message := self._pubsub.get_sharded_message(timeout=None)) is None or not _answers(message, ping):
                if message is not None and message["type"] == "smessage":
                    self._heard.append(message["data"])
        return bool(self._heard)


class _Outlet:
    """Puts messages on the road, from any thread."""

    def __init__(self, world: World, road: Road) -> None:
        self._world = world
        self._road = road

    def publish(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            self._world.call(self._road.put, message)

    def deliver(self, messages: Sequence[Outgoing | DirectMessage], timeout_seconds: float) -> None:
        for message in messages:
            self._world.call(self._road.put, message)

    def close(self, timeout_seconds: float) -> None:
        """The road goes with its world."""


def _answers(message: dict[str, object], ping: str) -> bool:
    return message["type"] == "pong" and message["data"] == ping.encode()
