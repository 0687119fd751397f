"""A process below a supervisor: what is said between them, around whatever the process is there for."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from taskmesh.app.assembly import Foundation, lay_foundation
from taskmesh.config.loader import restore_settings
from taskmesh.config.settings import Settings
from taskmesh.errors import TaskmeshError
from taskmesh.observability.logs import configure
from taskmesh.worker.supervision.link import REPORT_SECONDS, IoStart, Report, SettingsNote, SupervisorLink

EXIT_CLEAN, EXIT_UNCLEAN, EXIT_FATAL = 0, 1, 2


class Duty(Protocol):
    """What a process is there for; see ``Session``."""

    async def start(self) -> None: ...

    async def check(self) -> str:
        """What keeps it from being ready as of now, or an empty string."""

    def figures(self) -> dict[str, list[Any]]: ...

    def apply(self, settings: Settings, pushed: int, is_refused: bool) -> None:
        """Take over settings that have changed, with ``pushed`` as the revision of the pushed ones in them.

        ``is_refused``: others were found, and could not be taken over.
        """

    async def drain(self, seconds: float) -> bool: ...

    async def close(self) -> None: ...


GiveUp: TypeAlias = Callable[[str], None]
"""Called with the sentence why going on makes no sense."""

OpenDuty: TypeAlias = Callable[[IoStart, Foundation, GiveUp], Duty]


class DutyProcess:
    """Connects a duty with its supervisor."""

    def __init__(self, fd: int, open_duty: OpenDuty) -> None:
        self._open_duty = open_duty
        self._ending: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._link = SupervisorLink(fd, self._end, lambda: self._end(None), self._take_over)
        self._note: SettingsNote | None = None
        self._duty: Duty | None = None
        self._exit_code = EXIT_CLEAN

    async def run(self) -> int:
        start = await self._link.started()
        try:
            await self._serve(start)
        except TaskmeshError as error:
            self._give_up(str(error))
            # The sentence must reach the supervisor before this process is gone.
            await asyncio.sleep(0.1)
        return self._exit_code

    async def _serve(self, start: IoStart) -> None:
        settings = restore_settings(start.settings)
        configure(settings.log.level, settings.log.format, sys.stderr)
        with contextlib.closing(lay_foundation(settings)) as foundation:
            duty = self._duty = self._open_duty(start, foundation, self._give_up)
            try:
                if self._note is not None:
                    self._take_over(self._note)
                await self._live(duty)
            finally:
                await duty.close()

    async def _live(self, duty: Duty) -> None:
        reporting = asyncio.create_task(self._report(duty))
        starting = asyncio.create_task(duty.start())
        first: list[asyncio.Future[Any]] = [starting, self._ending]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            seconds = await self._ending
            if seconds is not None and not await duty.drain(seconds):
                self._exit_code = max(self._exit_code, EXIT_UNCLEAN)
        starting.cancel()
        reporting.cancel()

    async def _report(self, duty: Duty) -> None:
        while True:
            missing = await duty.check()
            self._link.report(Report(not missing, missing, duty.figures()))
            await asyncio.sleep(REPORT_SECONDS if not missing else REPORT_SECONDS / 10)

    def _take_over(self, note: SettingsNote) -> None:
        self._note = note
        if self._duty is not None:
            settings = restore_settings(note.settings)
            configure(settings.log.level, settings.log.format, sys.stderr)
            self._duty.apply(settings, note.pushed, note.is_refused)

    def _give_up(self, sentence: str) -> None:
        self._exit_code = EXIT_FATAL
        self._link.fatal(sentence)
        self._end(None)

    def _end(self, drain_seconds: float | None) -> None:
        if not self._ending.done():
            self._ending.set_result(drain_seconds)


async def _run(fd: int, open_duty: OpenDuty) -> int:
    return await DutyProcess(fd, open_duty).run()


def main(name: str, open_duty: OpenDuty) -> int:
    """Do a duty until the supervisor ends it; returns the exit code. ``name`` is the module that was started."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--fd", type=int, required=True)
    # The supervisor tells when to end; a signal to the whole process group must not cut it off.
    # (A handler and not SIG_IGN, which the executors would inherit.)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return asyncio.run(_run(parser.parse_args().fd, open_duty))
