"""What parents and children read of each other."""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.store.calls import NodeKey
from taskmesh.store.family import run_of_ticket, ticket_of
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, value_of
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store


class FamilyReader(Reader):
    """Reads runs, and which of them wait for which."""

    def __init__(self, link: Link, keys: Keys) -> None:
        super().__init__(link, keys)
        self._link = link
        self._keys = keys

    @classmethod
    def of(cls, store: Store) -> FamilyReader:
        return cls(store.link, store.keys)

    def picked(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> list[list[bytes | None]]:
        """Fields of runs, others of each, in one exchange."""
        keys = [self._keys.run(run_id) for run_id, _ in wanted]
        commands = [Command(key, "HMGET", key, *fields) for key, (_, fields) in zip(keys, wanted, strict=True)]
        return [value_of(reply) for reply in self._link.exchange(commands)] if commands else []

    def awaited_runs(self, run_id: str) -> list[tuple[int, str]]:
        """The child runs that nodes of a run wait for, each with the node."""
        key = self._keys.partition_of(run_id).retrying(run_id)
        [reply] = self._link.exchange([Command(key, "SMEMBERS", key)])
        keys = [NodeKey(run_id, int(node)) for node in value_of(reply)]
        records = zip(keys, self.node_records(keys), strict=True)
        tickets = [(each.node, ticket_of(record.cause)) for each, record in records if record is not None]
        return [(node, run_of_ticket(ticket)) for node, ticket in tickets if ticket]
