"""Dead letters as a person deals with them: look, replay, purge."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskmesh.broker.protocol import EVENTS, DirectMessage, Outgoing, inbound_events_name
from taskmesh.client.letter_edits import edited, read_letter, routing_key_of
from taskmesh.client.parts import Outlet
from taskmesh.clock import Clock
from taskmesh.errors import DeadLetterError
from taskmesh.store.letters import DeadLetter, DeadLetterFilter, Letters
from taskmesh.wire.messages import NodeMessage, ProbeMessage

CONFIRM_SECONDS = 15.0
BATCHES_PER_SECOND = 10
LETTERS_PER_BATCH = 100

ALL = DeadLetterFilter()


@dataclass(frozen=True, slots=True)
class OpenedLetter:
    """A dead letter with its bytes. ``message`` is what they say; None where they are no message of ours."""

    letter: DeadLetter
    body: bytes
    message: NodeMessage | ProbeMessage | None


class DeadLetterBox:
    """The messages that no worker could use."""

    def __init__(self, letters: Letters, publisher: Outlet, clock: Clock, namespace: str) -> None:
        self._letters = letters
        self._publisher = publisher
        self._clock = clock
        self._namespace = namespace

    def find(self, wanted: DeadLetterFilter = ALL, limit: int = 50) -> list[DeadLetter]:
        """The newest letters that are meant, the newest first."""
        return list(itertools.islice(self._letters.find(wanted, self._clock.now()), limit))

    def count(self, wanted: DeadLetterFilter = ALL) -> int:
        """How many letters are meant."""
        return sum(1 for _ in self._letters.find(wanted, self._clock.now()))

    def get(self, letter_id: str) -> OpenedLetter:
        """One letter with its bytes.

        :raises DeadLetterError: it is not there.
        """
        found = self._letters.get(letter_id)
        if found is None:
            raise DeadLetterError(letter_id, f"no dead letter has the id {letter_id!r}; it may be replayed or purged")
        letter, body = found
        return OpenedLetter(letter, body, read_letter(body))

    def replay(
        self,
        letter_id: str,
        *,
        changes: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        pool: str | None = None,
    ) -> None:
        """Publish a letter again, and forget it once the broker has confirmed it.

        ``changes`` sets fields of its message, ``body`` stands in for all of its bytes, ``pool`` for its pool. A crash
        in between leaves the letter, so its message may come twice, which does no harm: the store decides what runs.

        :raises DeadLetterError: it is not there, or not whole, or cannot be changed so.
        :raises BrokerUnavailableError: the broker has not confirmed; the letter is still there.
        """
        opened = self.get(letter_id)
        bytes_of = opened.body if body is None else body
        if body is None:
            _refuse_cut(opened.letter)
        if changes:
            bytes_of = edited(letter_id, bytes_of, changes)
        self._publish([self._outgoing(opened.letter, bytes_of, pool)])
        self._letters.forget([letter_id])

    def replay_all(self, wanted: DeadLetterFilter = ALL, rate: float = 100.0) -> Iterator[int]:
        """Replay the letters that are meant now, the oldest first, at most ``rate`` in a second.

        Yields after each batch how many were replayed so far. Letters that are not whole are left.

        :raises BrokerUnavailableError: the broker has not confirmed; what was not replayed is still there.
        """
        found = self._letters.find(wanted, self._clock.now(), newest_first=False)
        chosen = [letter.id for letter in found if not letter.is_cut]
        size = max(1, min(LETTERS_PER_BATCH, int(rate / BATCHES_PER_SECOND)))
        begun, replayed = self._clock.monotonic(), 0
        for start in range(0, len(chosen), size):
            self._wait_until(begun + start / rate)
            replayed += self._replay_batch(chosen[start : start + size])
            yield replayed

    def purge(self, wanted: DeadLetterFilter = ALL) -> int:
        """Forget the letters that are meant; returns how many."""
        return self.discard([letter.id for letter in self._letters.find(wanted, self._clock.now())])

    def discard(self, letter_ids: Sequence[str]) -> int:
        """Forget letters by their ids; returns how many were there."""
        starts = range(0, len(letter_ids), LETTERS_PER_BATCH)
        return sum(self._letters.forget(letter_ids[start : start + LETTERS_PER_BATCH]) for start in starts)

    def _replay_batch(self, letter_ids: Sequence[str]) -> int:
        found = [each for letter_id in letter_ids if (each := self._letters.get(letter_id)) is not None]
        self._publish([self._outgoing(letter, body, None) for letter, body in found])
        return self._letters.forget([letter.id for letter, _ in found])

    def _publish(self, messages: Sequence[Outgoing | DirectMessage]) -> None:
        if messages:
            self._publisher.deliver(messages, CONFIRM_SECONDS)

    def _outgoing(self, letter: DeadLetter, body: bytes, pool: str | None) -> Outgoing | DirectMessage:
        if (pool or letter.pool) == EVENTS:
            return DirectMessage(inbound_events_name(self._namespace), body)
        return Outgoing(pool or letter.pool, routing_key_of(body, letter.routing_key or letter.id), body)

    def _wait_until(self, moment: float) -> None:
        self._clock.sleep(max(0.0, moment - self._clock.monotonic()))


def _refuse_cut(letter: DeadLetter) -> None:
    if letter.is_cut:
        raise DeadLetterError(
            letter.id,
            f"dead letter {letter.id} had {letter.size} bytes, of which only the first part is kept; "
            "to replay it, give the whole body",
        )
