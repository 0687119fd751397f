"""One I/O process as the supervisor sees it."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from taskmesh.clock import Clock
from taskmesh.worker.channels.child import Child
from taskmesh.worker.supervision.link import IoStart, Report, SettingsNote, Word, settings_message, start_message

SILENT_SECONDS = 10.0
"""An I/O process that reported nothing for so long is not alive, whatever its process does."""


@dataclass(frozen=True, slots=True)
class IoEvents:
    """What an I/O process makes the supervisor do, on its loop."""

    on_metrics: Callable[[Mapping[str, Any], str], None]
    on_fatal: Callable[[str], None]
    on_exit: Callable[[IoProcess, str], None]


def new_holder_id() -> str:
    """Names one life of one I/O process; readable, and never the same again."""
    return f"{platform.node() or 'worker'}-{secrets.token_hex(6)}"


class IoProcess:
    """A started I/O process and its last report."""

    def __init__(self, start: IoStart, events: IoEvents, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._report = Report(ready=False, missing="starting")
        self._heard_at = self.started_at = clock.monotonic()
        self.start = replace(start, holder_id=new_holder_id())
        self.child = Child(start.module, (), self._on_messages, self._on_exit)
        self.child.send(start_message(self.start))

    @property
    def holder_id(self) -> str:
        return self.start.holder_id

    @property
    def missing(self) -> str:
        """What keeps it from being ready; empty when it is."""
        if self._report.ready:
            return self.silence
        return f"{self.start.name}: {self._report.missing or 'not ready'}"

    @property
    def silence(self) -> str:
        """A sentence when it has not been heard of for too long."""
        silent_seconds = self._clock.monotonic() - self._heard_at
        if silent_seconds < SILENT_SECONDS:
            return ""
        return f"{self.start.name} (pid {self.child.pid}) was last heard of {silent_seconds:.0f} s ago"

    def tell(self, note: SettingsNote) -> None:
        self.child.send(settings_message(note))

    def drain(self, seconds: float) -> None:
        self.child.send((Word.DRAIN, seconds))

    def stop(self) -> None:
        self.child.send((Word.STOP, None))

    def _on_messages(self, messages: list[Any]) -> None:
        self._heard_at = self._clock.monotonic()
        for word, payload in messages:
            if word == Word.REPORT:
                self._report = Report(*payload)
                self._events.on_metrics(self._report.metrics, self.holder_id)
            elif word == Word.FATAL:
                self._events.on_fatal(payload)

    def _on_exit(self, reason: str) -> None:
        self._events.on_exit(self, reason)
