"""The messages that are on their way to the broker, and what each of its answers means for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Batch:
    """Messages that were handed over together; ``then`` is owed when none remains."""

    remaining: int
    then: Callable[[], None] | None


@dataclass(slots=True)
class Parcel:
    """One message, addressed. ``pool`` names the topology that it needs, None for a queue that is not ours.

    ``properties`` are opaque here. One that is not ``mandatory`` may find no queue that takes it.
    """

    exchange: str
    routing_key: str
    body: bytes
    properties: Any
    pool: str | None
    batch: Batch
    mandatory: bool = True
    sent_at: float = 0.0

    @property
    def address(self) -> tuple[str, str, bytes]:
        """What a returned message can be known by: the broker names no tag when it returns one."""
        return self.exchange, self.routing_key, self.body


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What one confirm settled."""

    safe: list[Parcel]
    unroutable: list[Parcel]


class ConfirmWindow:
    """The unconfirmed messages of one channel in confirm mode, by the tag that the broker counts for them."""

    def __init__(self) -> None:
        self._last_tag = 0
        # In the order of publishing, which is the order of the tags.
        self._sent: dict[int, Parcel] = {}
        self._returned: Counter[tuple[str, str, bytes]] = Counter()

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def oldest_sent_at(self) -> float | None:
        """When the message was sent that has waited longest for its confirm; None when none waits."""
        for parcel in self._sent.values():
            return parcel.sent_at
        return None

    def send(self, parcel: Parcel, now: float) -> None:
        """Count a message as published at ``now``."""
        self._last_tag += 1
        parcel.sent_at = now
        self._sent[self._last_tag] = parcel

    def note_returned(self, exchange: str, routing_key: str, body: bytes) -> None:
        """The broker found no queue for a message. Its confirm follows, and must not count."""
        self._returned[exchange, routing_key, body] += 1

    def confirm(self, tag: int, multiple: bool) -> Confirmed:
        """The broker has answered for ``tag``, or for all up to it."""
        parcels = self.take(tag, multiple)
        if not self._returned:
            return Confirmed(parcels, [])
        result = Confirmed([], [])
        for parcel in parcels:
            (result.unroutable if self._was_returned(parcel) else result.safe).append(parcel)
        return result

    def take(self, tag: int, multiple: bool) -> list[Parcel]:
        """Remove ``tag``, or all up to it, in the order of publishing; tags that are not there are ignored."""
        if not multiple:
            parcel = self._sent.pop(tag, None)
            return [] if parcel is None else [parcel]
        taken = []
        for sent_tag in self._sent:
            if sent_tag > tag:
                break
            taken.append(sent_tag)
        return [self._sent.pop(sent_tag) for sent_tag in taken]

    def take_all(self) -> list[Parcel]:
        """Empty it for a new channel; gives what was not confirmed, in the order of publishing."""
        parcels = list(self._sent.values())
        self._last_tag = 0
        self._sent.clear()
        self._returned.clear()
        return parcels

    def _was_returned(self, parcel: Parcel) -> bool:
        # Two messages with one address and one body are the same to whoever gets them: either may stand for the other.
        count = self._returned[parcel.address]
        if count > 1:
            self._returned[parcel.address] = count - 1
        else:
            del self._returned[parcel.address]
        return count > 0
