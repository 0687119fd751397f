"""Events that are gathered into batches, until the run of each batch is admitted: one method for each Lua script.

As for every call of the store: one that raised ``StoreUnavailableError`` may be made again with the same arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from taskmesh.store.calls import Word
from taskmesh.store.keys import Partition
from taskmesh.store.link import Command, Reply, value_of
from taskmesh.store.store import WORDS, Request, Store

MOST_BYTES = 64 * 1_048_576
"""So much may be gathered in each partition: more than ``limits.max_value_bytes`` can be."""

KNOWN_SECONDS = 86_400
"""How long events are known after the run of their batch was admitted, where that is kept for so long."""


class BatchKey(NamedTuple):
    """Names one batch of one gathering."""

    gathering_id: str
    number: str

    @classmethod
    def parse(cls, member: str) -> BatchKey:
        """Read a member of a partition's ``closed_batches``."""
        gathering_id, number = member.split("|")
        return cls(gathering_id, number)

    @property
    def member(self) -> str:
        return f"{self.gathering_id}|{self.number}"


@dataclass(frozen=True, slots=True)
class Joining:
    """An event to take into a batch; see ``gather_event.lua``. ``weight`` are bytes of the run's parameters."""

    gathering_id: str
    mark: bytes
    event: bytes
    weight: int
    flow: str
    key: str
    flow_hash: str
    stays_seconds: float
    longest_seconds: float
    most_events: int
    most_bytes: int


class EventBatches:
    """Gathers events, and lets batches close and go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.keys

    def gather_events(self, joinings: Sequence[Joining]) -> list[Word]:
        """Take events in this order; words as of ``gather_event.lua``."""
        numbers = {self._partition(each.gathering_id).number for each in joinings}
        key = self._keys.gathering
        # Before they are there, so that no keeper overlooks them.
        value_of(self._store.link.exchange([Command(key, "SADD", key, *numbers)])[0])
        return self._ask([self._gather(each) for each in joinings])

    def close_batches(self, gathering_ids: Sequence[str], early: bool = False) -> list[Word]:
        """Close the batches whose time is over, or ``early`` others, too; ``moved`` where that is later by now."""
        return self._ask([self._close(each, early) for each in gathering_ids])

    def settle_batches(self, settled: Sequence[tuple[BatchKey, bool]]) -> list[Word]:
        """Be done with closed batches, each with whether its run was admitted; else its events may come again."""
        return self._ask([self._settle(*each) for each in settled])

    def postpone(self, gathering_ids: Sequence[str], batches: Sequence[BatchKey], until: float) -> None:
        """Put what cannot be read now behind the others, until a time in epoch seconds."""
        members = [(self._partition(each).gatherings, each) for each in gathering_ids]
        members += [(self._partition(each.gathering_id).closed_batches, each.member) for each in batches]
        commands = [Command(key, "ZADD", key, "XX", repr(until), member) for key, member in members]
        for reply in self._store.link.exchange(commands):
            value_of(reply)

    def _gather(self, each: Joining) -> Command:
        keys, gathering_id = self._partition(each.gathering_id), each.gathering_id
        return self._script(
            "gather_event",
            [
                keys.gathering(gathering_id),
                keys.seen(gathering_id),
                keys.gatherings,
                keys.closed_batches,
                keys.gathered_bytes,
            ],
            [
                gathering_id,
                each.mark,
                each.event,
                each.weight,
                each.flow,
                each.key,
                each.flow_hash,
                each.stays_seconds,
                each.longest_seconds,
                each.most_events,
                each.most_bytes,
                MOST_BYTES,
            ],
        )

    def _close(self, gathering_id: str, early: bool) -> Command:
        keys = self._partition(gathering_id)
        return self._script(
            "close_batch",
            [keys.gathering(gathering_id), keys.gatherings, keys.closed_batches],
            [gathering_id, int(early)],
        )

    def _settle(self, batch: BatchKey, is_begun: bool) -> Command:
        keys, gathering_id = self._partition(batch.gathering_id), batch.gathering_id
        known_seconds = min(KNOWN_SECONDS, self._store.retention_ms // 1000)
        return self._script(
            "settle_batch",
            [keys.gathering(gathering_id), keys.seen(gathering_id), keys.closed_batches, keys.gathered_bytes],
            [gathering_id, batch.number, "begun" if is_begun else "refused", known_seconds],
        )

    def _partition(self, gathering_id: str) -> Partition:
        return self._keys.partition_of(gathering_id)

    def _script(self, name: str, keys: list[str], arguments: Sequence[str | bytes | int | float]) -> Command:
        return self._store.script(name, keys, [self._store.now, *arguments])

    def _ask(self, commands: list[Command]) -> list[Word]:
        return self._store.ask(Request(commands, _word, Word.BROKEN))


def _word(reply: Reply) -> Word:
    return WORDS[reply[0]]
