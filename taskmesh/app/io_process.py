"""``python -m taskmesh.app.io_process --fd N``: one I/O process of a worker, started by its supervisor."""

from __future__ import annotations

import sys

from taskmesh.app.assembly import Foundation
from taskmesh.app.duty import GiveUp, main
from taskmesh.app.session import Identity, Session
from taskmesh.config.settings import Settings
from taskmesh.plugins.catalog import may_be_any
from taskmesh.worker.engine.engine import Engine
from taskmesh.worker.executors.pool import ExecutorPool, PoolEvents
from taskmesh.worker.executors.process import ExecutorSettings
from taskmesh.worker.supervision.link import IoStart


class IoDuty:
    """A session with executor processes."""

    def __init__(self, start: IoStart, foundation: Foundation, give_up: GiveUp) -> None:
        def open_pool(engine: Engine) -> ExecutorPool:
            self._executors = _open_pool(engine, start, foundation, give_up)
            return self._executors

        identity = Identity(start.holder_id, foundation.settings.worker.pools)
        session = self._session = Session(foundation, identity, open_pool, lambda error: give_up(str(error)))
        self.start, self.check, self.figures = session.start, session.check, session.figures
        self.drain, self.close = session.drain, session.close

    def apply(self, settings: Settings, pushed: int, is_refused: bool) -> None:
        """As a session does; and the executors log as the settings say."""
        self._session.apply(settings, pushed, is_refused)
        self._executors.take_over(settings.to_mapping())


def _open_pool(engine: Engine, start: IoStart, foundation: Foundation, give_up: GiveUp) -> ExecutorPool:
    settings = foundation.settings
    executors = ExecutorSettings(
        start.apps,
        start.executors,
        settings.worker.threads,
        max_value_bytes=settings.limits.max_value_bytes,
        memory_mb=settings.worker.executor_memory_mb,
        node_types=may_be_any(settings),
        settings=settings.to_mapping(),
    )
    events = PoolEvents(
        engine.on_started, engine.on_beats, engine.on_outcomes, engine.on_lost, engine.on_pool_ready, give_up
    )
    pool = ExecutorPool(executors, events, foundation.clock)
    pool.start()
    return pool


if __name__ == "__main__":
    sys.exit(main("taskmesh.app.io_process", IoDuty))
