"""What the producer's side of a mesh works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from taskmesh.broker.protocol import DirectMessage, Outgoing
from taskmesh.client.taps import Taps
from taskmesh.clock import Clock
from taskmesh.dispatch.plans import Plans
from taskmesh.payload.large_values import NOWHERE, LargeValues
from taskmesh.resilience.breaker import LocalBreaker
from taskmesh.store.keys import Keys
from taskmesh.store.letters import Letters
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store

LOOK_AGAIN_SECONDS = 1.0
"""An announcement can be lost with its connection; so a waiting caller also looks this often."""


class Outlet(Protocol):
    """The way of messages out of this process, from any thread; see ``PublisherThread``."""

    def publish(self, messages: Sequence[Outgoing]) -> None: ...

    def deliver(self, messages: Sequence[Outgoing | DirectMessage], timeout_seconds: float) -> None:
        """:raises BrokerUnavailableError: the broker has not confirmed all of it in time."""

    def close(self, timeout_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class ClientParts:
    """What a client works with. ``large`` is where large values are put aside, if anywhere."""

    store: Store
    reader: Reader
    letters: Letters
    keys: Keys
    plans: Plans
    publisher: Outlet
    taps: Taps
    clock: Clock
    store_breaker: LocalBreaker
    look_again_seconds: float = LOOK_AGAIN_SECONDS
    large: LargeValues = NOWHERE
