"""What the supervisor and its I/O processes say to each other, and the I/O process's end of it.

    supervisor  ──►  start IoStart · settings SettingsNote · drain seconds · stop
    I/O process ──►  report Report (about once a second) · fatal sentence

The settings travel here because they hold credentials, which a command line or a file would show.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from taskmesh.worker.channels.adoption import adopt_channel
from taskmesh.worker.channels.channel import LoopChannel

REPORT_SECONDS = 1.0


class Word(StrEnum):
    """The first item of every message."""

    START = "start"
    SETTINGS = "settings"
    DRAIN = "drain"
    STOP = "stop"
    REPORT = "report"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class IoStart:
    """What an I/O process has to know. ``settings`` is the worker's whole configuration as plain data.

    ``module`` is what the process runs, ``name`` what it is called when it is spoken of.
    """

    holder_id: str
    index: int
    executors: int
    apps: tuple[str, ...]
    settings: Mapping[str, Any]
    module: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class SettingsNote:
    """The settings of the worker as they are now; ``is_refused``: others were found, and could not be taken over.

    ``pushed`` is the revision of the pushed settings in them, 0 for none.
    """

    settings: Mapping[str, Any]
    is_refused: bool = False
    pushed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """How an I/O process is. ``missing`` is what keeps it from being ready; ``metrics`` what changed since the last."""

    ready: bool
    missing: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


def settings_message(note: SettingsNote) -> tuple[str, list[Any]]:
    return Word.SETTINGS, [note.settings, note.is_refused, note.pushed]


def start_message(start: IoStart) -> tuple[str, dict[str, Any]]:
    return Word.START, dataclasses.asdict(start)


class SupervisorLink:
    """The I/O process's end. Create it on the running loop, before anything that takes long.

    ``on_drain`` gets the seconds that are left; ``on_stop`` is also called when the supervisor is gone.
    ``on_settings`` hears when the settings have changed.
    """

    def __init__(
        self,
        fd: int,
        on_drain: Callable[[float], None],
        on_stop: Callable[[], None],
        on_settings: Callable[[SettingsNote], None],
    ) -> None:
        self._on_settings = on_settings
        self._on_drain = on_drain
        self._on_stop = on_stop
        loop = asyncio.get_running_loop()
        self._start: asyncio.Future[IoStart] = loop.create_future()
        self._channel = LoopChannel(adopt_channel(fd), self._on_messages, on_stop)
        self._channel.open(loop)

    async def started(self) -> IoStart:
        """What to run; waits for the supervisor to say it."""
        return await self._start

    def report(self, report: Report) -> None:
        self._channel.send((Word.REPORT, [report.ready, report.missing, report.metrics]))

    def fatal(self, sentence: str) -> None:
        """Say why a restart cannot help. The process should then end by itself."""
        self._channel.send((Word.FATAL, sentence))

    def _on_messages(self, messages: list[Any]) -> None:
        for word, payload in messages:
            if word == Word.START:
                self._start.set_result(IoStart(**{**payload, "apps": tuple(payload["apps"])}))
            elif word == Word.SETTINGS:
                self._on_settings(SettingsNote(*payload))
            elif word == Word.DRAIN:
                self._on_drain(payload)
            elif word == Word.STOP:
                self._on_stop()
