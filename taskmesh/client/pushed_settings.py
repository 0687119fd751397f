"""Live settings of all workers as a person deals with them: push, look, roll back, unset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from taskmesh.client.flow_refusals import short_enough
from taskmesh.client.identity import this_user
from taskmesh.client.verdicts import checked
from taskmesh.config.pushed import live_values
from taskmesh.config.sources import from_overrides
from taskmesh.errors import UsageError
from taskmesh.model.checkup.settings_rules import SettingsReport
from taskmesh.model.settings_revisions import SettingsRevision
from taskmesh.store.calls import Who
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.pushed_settings import PushedSettings

REVISIONS_PER_PAGE = 50


class PushedRevision(NamedTuple):
    """What a push came to: the revision that holds, None where none does, and whether it is new."""

    revision: SettingsRevision | None
    is_new: bool


class SettingsBox:
    """The live settings that hold for all workers, above the file of each. Safe in threads."""

    def __init__(self, store: PushedSettings, housekeeping: Housekeeping) -> None:
        self._store = store
        self._housekeeping = housekeeping

    def push(
        self, values: Mapping[str, Any], *, message: str = "", expected: int | None = None, author: str = ""
    ) -> PushedRevision:
        """Have live settings hold for all workers, as ``push({"log.level": "debug"})``, in place of any pushed before.

        Values may be nested or by dotted key. What holds already makes no new revision. With ``expected``, only if that
        revision is the newest until then (0 = none is). ``author`` is the user of this process by default.

        :raises ConfigError: a value is wrong or a setting is not live; nothing is pushed.
        :raises UsageError: the message is too long, or another revision than ``expected`` is the newest.
        """
        checked_values = live_values(from_overrides(values, "to be pushed"))
        return self._push(checked_values, Who(author or this_user(), message), expected)

    def change(
        self, values: Mapping[str, Any], *, message: str = "", expected: int | None = None, author: str = ""
    ) -> PushedRevision:
        """``push`` with these values over those that were pushed before, which stay.

        :raises UsageError: as of ``push``; or somebody else has pushed at the same time.
        """
        current = self._store.current()
        changed = live_values(from_overrides(values, "to be pushed"))
        seen = current.number if expected is None else expected
        return self._push({**current.values, **changed}, Who(author or this_user(), message), seen)

    def rollback(self, number: int, *, message: str = "", expected: int | None = None) -> PushedRevision:
        """Have what an earlier revision says hold again, as a new revision.

        :raises UsageError: there is no such revision, or not any more; or as of ``push``.
        """
        revision = self.get(number)
        return self._push(revision.values, Who(this_user(), message), expected, "rollback", number)

    def unset(self, *, message: str = "", expected: int | None = None) -> PushedRevision:
        """Have all workers go by their own settings again.

        :raises UsageError: as of ``push``.
        """
        return self._push({}, Who(this_user(), message), expected, "unset")

    def current(self) -> SettingsRevision | None:
        """The revision that holds, also one that has unset all; None where nothing was ever pushed."""
        return next(iter(self.log(1)), None)

    def get(self, number: int) -> SettingsRevision:
        """A revision.

        :raises UsageError: there is none with this number, or it is not kept any more.
        """
        found = self._store.revisions([number])
        if not found:
            newest = self._store.current().number
            known = f"the newest is {newest}, and the newest 1,000 are kept" if newest else "nothing was ever pushed"
            raise UsageError(f"there is no revision {number} of the pushed settings: {known}")
        return found[0]

    def log(self, limit: int = REVISIONS_PER_PAGE, before: int | None = None) -> Sequence[SettingsRevision]:
        """Revisions, the newest first: at most ``limit``, of those ``before`` a number; the newest 1,000 are kept."""
        newest = self._store.current().number
        if before is not None:
            newest = min(newest, before - 1)
        return self._store.revisions(range(newest, max(0, newest - limit), -1))

    def workers(self) -> dict[str, SettingsReport]:
        """What each process of workers and keepers runs with; it tells so every few seconds (a fifth of its lease)."""
        return self._housekeeping.settings_reports()

    def _push(
        self, values: Mapping[str, Any], who: Who, expected: int | None, kind: str = "push", of: int = 0
    ) -> PushedRevision:
        kept = checked(who)._replace(why=short_enough(who.why))
        answer = self._store.push(values, kept, expected, kind, of)
        if answer.word == "moved":
            found = f"revision {answer.number} is the newest" if answer.number else "nothing was ever pushed"
            raise UsageError(f"{found}, but {expected} was expected: somebody else has changed it; nothing was done")
        revision = self.get(answer.number) if answer.number else None
        return PushedRevision(revision, answer.word == "pushed")
