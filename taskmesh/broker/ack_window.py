"""Which deliveries of a channel are settled, and the fewest acks that say so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ack:
    """One basic.ack to send; with ``multiple`` it covers every delivery up to ``tag``."""

    tag: int
    multiple: bool


class AckWindow:
    """The deliveries of one channel. Tags grow by one with each delivery of the channel.

    A tag that is unknown or settled already is ignored: acking it again would make the broker close the channel.
    """

    def __init__(self) -> None:
        # In the order of delivery, which is the order of the tags: the first key is the lowest.
        self._held: dict[int, None] = {}
        self._settled: list[int] = []

    def __len__(self) -> int:
        """Deliveries that are not settled."""
        return len(self._held)

    def deliver(self, tag: int) -> None:
        self._held[tag] = None

    def settle(self, tag: int) -> bool:
        """Mark as done, to be acked with the next ``take_acks``; False when there is nothing to mark."""
        if not self.forget(tag):
            return False
        self._settled.append(tag)
        return True

    def forget(self, tag: int) -> bool:
        """Drop without an ack, for a message given back; False when it is not held."""
        if tag not in self._held:
            return False
        del self._held[tag]
        return True

    def take_acks(self) -> list[Ack]:
        """The acks for what was settled since the last call.

        Everything below the lowest held tag is settled or given back, so one ``multiple`` covers it.
        """
        settled, self._settled = self._settled, []
        lowest_held = next(iter(self._held), None)
        if lowest_held is None:
            return [Ack(max(settled), len(settled) > 1)] if settled else []
        prefix = [tag for tag in settled if tag < lowest_held]
        acks = [Ack(max(prefix), len(prefix) > 1)] if prefix else []
        acks.extend(Ack(tag, False) for tag in settled if tag > lowest_held)
        return acks
