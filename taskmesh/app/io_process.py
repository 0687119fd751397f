"""``python -m taskmesh.app.io_process --fd N``: one I/O process of a worker, started by its supervisor."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from typing import Any

from taskmesh.app.assembly import Foundation, lay_foundation
from taskmesh.app.session import Identity, Session
from taskmesh.config.loader import restore_settings
from taskmesh.errors import TaskmeshError
from taskmesh.observability.logs import configure
from taskmesh.worker.engine import Engine
from taskmesh.worker.executor_pool import ExecutorPool, PoolEvents
from taskmesh.worker.executor_process import ExecutorSettings
from taskmesh.worker.supervisor_link import REPORT_SECONDS, IoStart, Report, SupervisorLink

EXIT_CLEAN, EXIT_UNCLEAN, EXIT_FATAL = 0, 1, 2


class IoProcess:
    """Connects a session with its supervisor."""

    def __init__(self, fd: int) -> None:
        self._ending: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._link = SupervisorLink(fd, self._end, lambda: self._end(None))
        self._exit_code = EXIT_CLEAN

    async def run(self) -> int:
        start = await self._link.started()
        try:
            await self._serve(start)
        except TaskmeshError as error:
            self._refused(error)
            # The sentence must reach the supervisor before this process is gone.
            await asyncio.sleep(0.1)
        return self._exit_code

    async def _serve(self, start: IoStart) -> None:
        settings = restore_settings(start.settings)
        configure(settings.log.level, settings.log.format, sys.stderr)
        with contextlib.closing(lay_foundation(settings)) as foundation:
            identity = Identity(start.holder_id, settings.worker.pools)
            session = Session(foundation, identity, lambda engine: self._pool(engine, start, foundation), self._refused)
            try:
                await self._live(session)
            finally:
                await session.close()

    async def _live(self, session: Session) -> None:
        reporting = asyncio.create_task(self._report(session))
        starting = asyncio.create_task(session.start())
        first: list[asyncio.Future[Any]] = [starting, self._ending]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            seconds = await self._ending
            if seconds is not None and not await session.drain(seconds):
                self._exit_code = max(self._exit_code, EXIT_UNCLEAN)
        starting.cancel()
        reporting.cancel()

    def _pool(self, engine: Engine, start: IoStart, foundation: Foundation) -> ExecutorPool:
        settings = foundation.settings
        executors = ExecutorSettings(
            start.apps,
            start.executors,
            settings.worker.threads,
            max_value_bytes=settings.limits.max_value_bytes,
            memory_mb=settings.worker.executor_memory_mb,
        )
        events = PoolEvents(engine.on_started, engine.on_outcomes, engine.on_lost, engine.on_pool_ready, self._fatal)
        pool = ExecutorPool(executors, events, foundation.clock)
        pool.start()
        return pool

    async def _report(self, session: Session) -> None:
        while True:
            missing = session.missing
            self._link.report(Report(not missing, missing, session.figures()))
            await asyncio.sleep(REPORT_SECONDS if not missing else REPORT_SECONDS / 10)

    def _refused(self, error: TaskmeshError) -> None:
        self._fatal(str(error))

    def _fatal(self, sentence: str) -> None:
        self._exit_code = EXIT_FATAL
        self._link.fatal(sentence)
        self._end(None)

    def _end(self, drain_seconds: float | None) -> None:
        if not self._ending.done():
            self._ending.set_result(drain_seconds)


async def _main(fd: int) -> int:
    return await IoProcess(fd).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="taskmesh.app.io_process")
    parser.add_argument("--fd", type=int, required=True)
    # The supervisor tells when to end; a signal to the whole process group must not cut it off.
    # (A handler and not SIG_IGN, which the executors would inherit.)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return asyncio.run(_main(parser.parse_args().fd))


if __name__ == "__main__":
    sys.exit(main())
