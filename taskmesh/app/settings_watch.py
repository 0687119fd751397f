"""The settings of a running worker: read again and again, and taken over as a whole or not at all."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TypeAlias

from taskmesh.config.live import changed_keys, refusal
from taskmesh.config.settings import Settings
from taskmesh.errors import ConfigError
from taskmesh.observability.logs import configure
from taskmesh.worker.supervision.link import SettingsNote

Outcome: TypeAlias = "Settings | str"
"""What reading gave, or why there is nothing to take over."""

_log = logging.getLogger(__name__)


class SettingsWatch:
    """Reads the settings with ``load``; what it finds counts once two looks in a row have found it.

    So a file that is being written is not taken for an empty one.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._current = settings
        self._load = load
        self._seen: Outcome = settings
        self._acted_on: Outcome = settings

    def look(self) -> SettingsNote | None:
        """What the processes of the worker have to be told; None where nothing has changed."""
        outcome = self._outcome()
        is_settled, self._seen = outcome == self._seen, outcome
        if not is_settled or outcome == self._acted_on:
            return None
        self._acted_on = outcome
        if isinstance(outcome, str):
            for line in outcome.splitlines():
                _log.error("the settings have changed and are not taken over: %s", line)
        else:
            self._take_over(outcome)
        return SettingsNote(self._current.to_mapping(), isinstance(outcome, str))

    def _outcome(self) -> Outcome:
        try:
            found = self._load()
        except ConfigError as error:
            return str(error)
        return refusal(self._current, found) or found

    def _take_over(self, settings: Settings) -> None:
        changed = changed_keys(self._current, settings)
        self._current = settings
        configure(settings.log.level, settings.log.format, sys.stderr)
        _log.info("settings taken over: %s", ", ".join(changed) or "they are as they were")
