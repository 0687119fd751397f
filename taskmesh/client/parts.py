"""What the producer's side of a mesh works with."""

from __future__ import annotations

from dataclasses import dataclass

from taskmesh.client.publisher_thread import PublisherThread
from taskmesh.client.taps import Taps
from taskmesh.clock import Clock
from taskmesh.dispatch.plan import Plans
from taskmesh.resilience.breaker import LocalBreaker
from taskmesh.store.keys import Keys
from taskmesh.store.letters import Letters
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store


@dataclass(frozen=True, slots=True)
class ClientParts:
    """What a client works with."""

    store: Store
    reader: Reader
    letters: Letters
    keys: Keys
    plans: Plans
    publisher: PublisherThread
    taps: Taps
    clock: Clock
    store_breaker: LocalBreaker
