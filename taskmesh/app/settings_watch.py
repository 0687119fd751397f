"""The settings of a running worker: looked at again and again, and taken over as a whole or not at all."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from taskmesh.config.live import changed_keys, refusal
from taskmesh.config.loader import with_pushed
from taskmesh.config.pushed import NOTHING_PUSHED, Pushed
from taskmesh.config.settings import Settings
from taskmesh.errors import ConfigError
from taskmesh.observability.logs import configure
from taskmesh.worker.supervision.link import SettingsNote

Outcome: TypeAlias = "Settings | str"
"""What reading gave, or why there is nothing to take over."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the settings of a worker come from while it runs.

    ``load`` reads its own again, without what was pushed. ``above`` are the keys that were given to this worker alone,
    which no push changes.
    """

    load: Callable[[], Settings]
    above: frozenset[str] = frozenset()


class SettingsWatch:
    """Follows a worker's own settings and, over them, what was pushed to all; ``pushed`` says what holds.

    What it reads itself counts once two looks in a row have found it, so a file that is being written is not taken for
    an empty one. What is wrong with one side keeps the other from nothing.
    """

    def __init__(self, settings: Settings, source: SettingsSource, pushed: Callable[[], Pushed]) -> None:
        self._source = source
        self._find_pushed = pushed
        self._own = self._current = settings
        self._seen: Outcome = settings
        self._acted_on: Outcome = settings
        self._pushed = self._found_pushed = NOTHING_PUSHED
        self._refused_push = False

    def look(self) -> SettingsNote | None:
        """What the processes of the worker have to be told; None where nothing has changed."""
        looks = self._look_at_own(), self._look_at_pushed()
        if not any(looks):
            return None
        is_refused = isinstance(self._acted_on, str) or self._refused_push
        return SettingsNote(self._current.to_mapping(), is_refused, self._pushed.number)

    def _look_at_own(self) -> bool:
        outcome = self._outcome()
        is_settled, self._seen = outcome == self._seen, outcome
        if not is_settled or outcome == self._acted_on:
            return False
        self._acted_on = outcome
        if isinstance(outcome, str):
            _refuse("the settings have changed and are", outcome)
        else:
            self._own = outcome
            self._take_over("settings", with_pushed(outcome, self._pushed, self._source.above))
        return True

    def _look_at_pushed(self) -> bool:
        found = self._find_pushed()
        if found == self._found_pushed:
            return False
        self._found_pushed = found
        try:
            settings = with_pushed(self._own, found, self._source.above)
        except ConfigError as error:
            self._refused_push = True
            _refuse(f"revision {found.number} of the pushed settings is", str(error))
            return True
        self._pushed, self._refused_push = found, False
        self._take_over(f"pushed settings, revision {found.number or 'none'},", settings)
        return True

    def _outcome(self) -> Outcome:
        try:
            found = self._source.load()
        except ConfigError as error:
            return str(error)
        return refusal(self._own, found) or found

    def _take_over(self, what: str, settings: Settings) -> None:
        changed = changed_keys(self._current, settings)
        self._current = settings
        configure(settings.log.level, settings.log.format, sys.stderr)
        _log.info("%s taken over: %s", what, ", ".join(changed) or "they are as they were")


def _refuse(what: str, why: str) -> None:
    for line in why.splitlines():
        _log.error("%s not taken over: %s", what, line)
