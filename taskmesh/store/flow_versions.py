"""Registered flows: versions with their bodies, in the slot of their name; each change is one call of a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from taskmesh.model.flow_versions import FlowChange, FlowVersion, RegisteredFlow, VersionState
from taskmesh.store.calls import Who
from taskmesh.store.keys import Keys
from taskmesh.store.link import Argument, Command, Link, Reply, value_of
from taskmesh.store.scripts import Scripts
from taskmesh.store.store import SERVER_TIME, Request, Store
from taskmesh.wire import unpack

_PAGE = 500


class FlowBody(NamedTuple):
    """A flow to keep: its address, its bytes, what it says as its version, and how many nodes it has."""

    hash: str
    data: bytes
    label: str
    nodes: int


class Answer(NamedTuple):
    """A word of a script, and the version that it speaks of, 0 where it speaks of none."""

    word: str
    number: int = 0


class FlowVersions:
    """The registered flows below one namespace.

    A call that raised ``StoreUnavailableError`` may or may not have happened, and may be made again.
    """

    def __init__(self, link: Link, keys: Keys, now: str = SERVER_TIME) -> None:
        self._link = link
        self._keys = keys
        self._scripts = Scripts()
        self._now = now

    def push(self, name: str, body: FlowBody, who: Who, is_draft: bool) -> Answer:
        """Keep a version: ``pushed``, or ``same`` where there is one with this body. The reason is its message."""
        # First, so that nothing is kept which no list shows: the set of names is in another slot.
        self._all([Command(self._keys.flow_names, "SADD", self._keys.flow_names, name)])
        keys = [self._keys.flow_versions(name), self._keys.flow_body(name, body.hash)]
        told: list[Argument] = [body.hash, body.data, who.by, who.why, "1" if is_draft else "", body.label, body.nodes]
        [reply] = self._all([Command.of_script(self._scripts["push_flow"], keys, [self._now, *told])])
        return answer_of(reply)

    def activate(self, name: str, number: int, expected: int | None, who: Who, kind: str = "activate") -> Answer:
        """Make a version the active one; ``expected`` must be active before, 0 for none.

        ``kind`` may be ``rollback``, back to one of the trail. The answer's words are those of ``activate_flow.lua``.
        """
        wanted = "" if expected is None else expected
        return self._call("activate_flow", name, [number, wanted, *who, kind])

    def archive(self, name: str, number: int, who: Who) -> Answer:
        """Let a version that is not active be used no more; words as of ``archive_flow.lua``."""
        return self._call("archive_flow", name, [number, "archive", *who])

    def restore(self, name: str, number: int, who: Who) -> Answer:
        """Take an archived version back; words as of ``archive_flow.lua``."""
        return self._call("archive_flow", name, [number, "restore", *who])

    def names(self) -> list[str]:
        """The names of all registered flows, in alphabetical order."""
        naming = self.naming()
        [names] = naming.answers(self._link.exchange(naming.commands))
        return names

    def naming(self) -> Request[list[str]]:
        """Asks for ``names``, together with other questions."""
        return Request([Command(self._keys.flow_names, "SMEMBERS", self._keys.flow_names)], _names)

    def flows(self, names: Sequence[str]) -> list[RegisteredFlow | None]:
        """How flows stand; None for a name that has no version."""
        rows = self._fields([(name, ("latest", "active")) for name in names])
        return [
            RegisteredFlow(name, int(latest), int(active) if active else None) if latest else None
            for name, (latest, active) in zip(names, rows, strict=True)
        ]

    def versions(self, wanted: Sequence[tuple[str, int]]) -> list[FlowVersion | None]:
        """Versions by name and number; None for one that is not there."""
        rows = self._fields(
            [(name, ("active", number, f"draft:{number}", f"archived:{number}")) for name, number in wanted]
        )
        return [_version(*each, *row) if row[1] else None for each, row in zip(wanted, rows, strict=True)]

    def trail(self, name: str) -> list[int]:
        """The versions that were active before the one that is, the last one last."""
        [[packed]] = self._fields([(name, ("trail",))])
        return _list(packed)

    def number_of(self, name: str, flow_hash: str) -> int | None:
        """The number of the version of a flow that has this body."""
        [[number]] = self._fields([(name, (f"hash:{flow_hash}",))])
        return int(number) if number else None

    def body(self, version: FlowVersion) -> bytes | None:
        """The bytes of a version."""
        return self.body_of(version.hash, version.name)

    def body_of(self, flow_hash: str, name: str) -> bytes | None:
        """The bytes of the version of a flow with this address."""
        key = self._keys.flow_body(name, flow_hash)
        [body] = self._all([Command(key, "HGET", key, "body")])
        return None if body is None else bytes(body)

    def log(self, name: str, limit: int) -> list[FlowChange]:
        """What was done to a flow, the newest first, as far as it is kept."""
        [[count]] = self._fields([(name, ("history",))])
        last = int(count or 0)
        fields = [f"history:{number}" for number in range(last - 1, max(-1, last - 1 - limit), -1)]
        rows = self._fields([(name, fields[start : start + _PAGE]) for start in range(0, len(fields), _PAGE)])
        return [_change(packed) for row in rows for packed in row if packed]

    def _call(self, script: str, name: str, arguments: Sequence[str | int]) -> Answer:
        keys = [self._keys.flow_versions(name)]
        [reply] = self._all([Command.of_script(self._scripts[script], keys, [self._now, *arguments])])
        return answer_of(reply)

    def _fields(self, wanted: Sequence[tuple[str, Sequence[str | int]]]) -> list[list[Any]]:
        rows = [(self._keys.flow_versions(name), fields) for name, fields in wanted]
        return self._all([Command(key, "HMGET", key, *fields) for key, fields in rows])

    def _all(self, commands: Sequence[Command]) -> list[Reply]:
        return [value_of(reply) for reply in self._link.exchange(commands)] if commands else []


def flow_versions_of(store: Store) -> FlowVersions:
    """The registered flows that stand beside the runs of a store."""
    return FlowVersions(store.link, store.keys, store.now)


def _names(reply: Reply) -> list[str]:
    return sorted(member.decode() for member in reply)


def answer_of(reply: Reply) -> Answer:
    """What a script said."""
    return Answer(reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0)


def _list(packed: bytes | None) -> list[int]:
    numbers = unpack(packed) if packed else []
    # An empty table of Lua is packed as a map.
    return [int(each) for each in numbers] if isinstance(numbers, list) else []


def _version(
    name: str, number: int, active: bytes | None, packed: bytes, draft: bytes | None, archived: bytes | None
) -> FlowVersion:
    flow_hash, at, author, message, label, nodes = unpack(packed)
    state = _state(number == int(active or 0), draft is not None, archived is not None)
    return FlowVersion(name, number, state, flow_hash, label, int(nodes), author, float(at), message)


def _state(is_active: bool, is_draft: bool, is_archived: bool) -> VersionState:
    if is_archived:
        return VersionState.ARCHIVED
    if is_active:
        return VersionState.ACTIVE
    return VersionState.DRAFT if is_draft else VersionState.INACTIVE


def _change(packed: bytes) -> FlowChange:
    kind, at, number, before, by, why = unpack(packed)
    return FlowChange(kind, float(at), int(number), int(before) or None, by, why)
