"""What the producer's side of a mesh works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from taskmesh.broker.protocol import DirectMessage, Outgoing
from taskmesh.client.taps import Taps
from taskmesh.clock import Clock
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import PayloadError
from taskmesh.payload.payloads import Payloads
from taskmesh.resilience.breaker import LocalBreaker
from taskmesh.store.keys import Keys
from taskmesh.store.letters import Letters
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.wire import unpack
from taskmesh.wire.claim_checks import read_check

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
    """What a client works with. ``payloads`` is where large outputs were put aside, if anywhere."""

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
    payloads: Callable[[], Payloads | None] = lambda: None

    def value(self, run_id: str, output: bytes) -> Any:
        """The value of an output of a run, wherever it is.

        :raises PayloadError: it was put aside, and is not there, or nothing says where that is.
        :raises PayloadUnavailableError: it cannot be fetched. :raises WireError: it cannot be read.
        """
        return unpack(output) if read_check(output) is None else self.place_of(run_id).value(run_id, output)

    def place_of(self, run_id: str) -> Payloads:
        """Where a run has put outputs aside.

        :raises PayloadError: nothing says where that is.
        """
        place = self.payloads()
        if place is None:
            raise PayloadError(
                f"an output of run {run_id!r} was put aside, and the settings of this process do not say where "
                "(payload.url)"
            )
        return place
