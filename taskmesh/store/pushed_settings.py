"""Live settings that are pushed to all workers: revisions that never change, of which the newest holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskmesh.config.pushed import NOTHING_PUSHED, Pushed
from taskmesh.errors import WireError
from taskmesh.model.settings_revisions import SettingsRevision
from taskmesh.store.calls import Who
from taskmesh.store.flow_versions import Answer, answer_of
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Link, Reply, value_of
from taskmesh.store.scripts import Scripts
from taskmesh.store.store import SERVER_TIME, Store
from taskmesh.wire import pack, unpack

_PAGE = 500


class PushedSettings:
    """The pushed settings of a namespace.

    A call that raised ``StoreUnavailableError`` may or may not have happened, and may be made again.
    """

    def __init__(self, link: Link, keys: Keys, now: str = SERVER_TIME) -> None:
        self._link = link
        self._key = keys.pushed_settings
        self._scripts = Scripts()
        self._now = now

    def push(
        self, values: Mapping[str, Any], who: Who, expected: int | None = None, kind: str = "push", of: int = 0
    ) -> Answer:
        """Have values hold from now on; ``expected`` must be the newest revision until then, 0 for none.

        ``kind`` and ``of`` are those of the revision. The answer's words are those of ``push_settings.lua``.
        """
        wanted = "" if expected is None else expected
        arguments = [self._now, pack(dict(sorted(values.items()))), *who, wanted, kind, of]
        return answer_of(self._one(Command.of_script(self._scripts["push_settings"], [self._key], arguments)))

    def current(self) -> Pushed:
        """What holds.

        :raises WireError: it is damaged in the store.
        """
        latest, packed = self._fields(["latest", "values"])
        return Pushed(int(latest), _values(packed)) if latest and packed else NOTHING_PUSHED

    def revisions(self, numbers: Sequence[int]) -> list[SettingsRevision]:
        """Those of the revisions that are kept, in the order in which they are asked for."""
        pages = [numbers[start : start + _PAGE] for start in range(0, len(numbers), _PAGE)]
        return [revision for page in pages for revision in self._page(page)]

    def _page(self, numbers: Sequence[int]) -> list[SettingsRevision]:
        found = self._fields([name for number in numbers for name in (str(number), f"values:{number}")])
        rows = zip(numbers, found[::2], found[1::2], strict=True)
        return [_revision(number, packed, values) for number, packed, values in rows if packed and values]

    def _fields(self, names: Sequence[str]) -> list[Any]:
        fields: list[Any] = self._one(Command(self._key, "HMGET", self._key, *names))
        return fields

    def _one(self, command: Command) -> Reply:
        return value_of(self._link.exchange([command])[0])


def pushed_settings_of(store: Store) -> PushedSettings:
    """The pushed settings that stand beside the runs of a store."""
    return PushedSettings(store.link, store.keys, store.now)


def _revision(number: int, packed: bytes, values: bytes) -> SettingsRevision:
    kind, at, by, why, of = unpack(packed)
    return SettingsRevision(number, kind, float(at), by, why, int(of), _values(values))


def _values(packed: bytes) -> dict[str, Any]:
    values = unpack(packed)
    if not isinstance(values, dict):
        raise WireError("the pushed settings are damaged in the store")
    return values
