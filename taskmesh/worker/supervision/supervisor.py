"""``taskmesh worker``: starts the I/O processes, replaces those that die, and answers for all of them.

It touches neither RabbitMQ nor Redis itself, and runs no user code, so it lives as long as the worker shall.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from taskmesh.clock import Clock, SystemClock
from taskmesh.config.settings import LEAVE_SECONDS
from taskmesh.errors import ConfigError
from taskmesh.worker.channels.child import RestartDelay
from taskmesh.worker.supervision.child import SILENT_SECONDS, IoEvents, IoProcess
from taskmesh.worker.supervision.health import HealthServer
from taskmesh.worker.supervision.link import REPORT_SECONDS, IoStart, SettingsNote
from taskmesh.worker.supervision.plan import WorkerPlan

STOP_SECONDS = 3.0

EXIT_CLEAN, EXIT_UNCLEAN, EXIT_FATAL = 0, 1, 2

_log = logging.getLogger(__name__)


class MetricsSink(Protocol):
    """Where the figures of all processes meet."""

    def add(self, delta: Mapping[str, Any], source: str) -> None: ...

    def render(self) -> bytes: ...


LookAtSettings: TypeAlias = Callable[[], SettingsNote | None]
"""Tells when the settings have changed; called about once a second, on the loop."""


def run_worker(
    plan: WorkerPlan,
    metrics: MetricsSink,
    on_io_death: Callable[[str], None],
    look_at_settings: LookAtSettings,
    clock: Clock | None = None,
) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code.

    0 when all that ran has ended or was handed back, 1 when something could not be handed back or was cut off, 2 when
    it cannot run (one sentence is on stderr). A drain takes at most ``drain_seconds`` and ``MARGIN_SECONDS``.
    ``on_io_death`` gets the holder id of each I/O process that died; it is called in a thread and may block.
    """
    return asyncio.run(Supervisor(plan, metrics, on_io_death, look_at_settings, clock or SystemClock()).run())


class Supervisor:
    """The supervisor's loop. ``terminate`` is what a signal does."""

    def __init__(
        self,
        plan: WorkerPlan,
        metrics: MetricsSink,
        on_io_death: Callable[[str], None],
        look_at_settings: LookAtSettings,
        clock: Clock,
    ) -> None:
        self.plan = plan
        self._metrics = metrics
        self._metrics_lock = threading.Lock()
        self._on_io_death = on_io_death
        self._clock = clock
        self._children: dict[int, IoProcess] = {}
        self._look_at_settings = look_at_settings
        self._note: SettingsNote | None = None
        self._starts = plan.starts()
        self._delays = [RestartDelay() for _ in self._starts]
        self._hooks: set[asyncio.Task[None]] = set()
        self._finished = asyncio.Event()
        self._terminations = 0
        self._ending = False
        self._exit_code = EXIT_CLEAN
        self._ticked_at = clock.monotonic()
        self.health_port = 0

    async def run(self) -> int:
        """Supervise until everything has ended."""
        try:
            server = HealthServer(self.plan.health_host, self.plan.health_port, self)
        except ConfigError as error:
            return self._say(str(error))
        self.health_port = server.port
        server.start()
        _log.info("health and metrics on http://%s:%d", self.plan.health_host, server.port)
        try:
            with self._signals():
                await self._supervise()
        finally:
            server.close()
        return self._exit_code

    def terminate(self) -> None:
        """The first call drains, the second stops at once."""
        self._ending = True
        self._terminations += 1
        if self._terminations == 1:
            self._begin_drain()
        elif self._terminations == 2:
            self._begin_stop()

    def not_live(self) -> list[str]:
        sentences = [child.silence for child in list(self._children.values())]
        if self._clock.monotonic() - self._ticked_at > SILENT_SECONDS:
            sentences.append("the supervisor's loop does not turn")
        return [sentence for sentence in sentences if sentence]

    def not_ready(self) -> list[str]:
        children = list(self._children.values())
        sentences = [child.missing for child in children]
        if self._ending:
            sentences.append("the worker is shutting down")
        elif len(children) < len(self._starts):
            sentences.append("a process of this worker is to be started again")
        return [sentence for sentence in sentences if sentence]

    def metrics(self) -> bytes:
        with self._metrics_lock:
            return self._metrics.render()

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._tick()
        for start in self._starts:
            self._spawn(start)
        try:
            await self._finished.wait()
        finally:
            self._ending = True
            await asyncio.gather(*(child.child.end(0) for child in list(self._children.values())))
            await asyncio.gather(*self._hooks)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # Inside an app that runs a worker in a thread, signals are the app's own business.
        ours = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGTERM, signal.SIGINT) if ours else ()
        for number in numbers:
            loop.add_signal_handler(number, self.terminate)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _tick(self) -> None:
        self._ticked_at = self._clock.monotonic()
        self._loop.call_later(REPORT_SECONDS, self._tick)
        note = self._look_at_settings()
        if note is not None:
            self._pass_on(note)

    def _pass_on(self, note: SettingsNote) -> None:
        """Have the processes take over settings, and those that are started later."""
        self._note = note
        self.plan = self.plan.with_settings(note)
        self._starts = self.plan.starts()
        for child in self._children.values():
            child.tell(note)

    def _spawn(self, start: IoStart) -> None:
        if self._ending:
            return
        events = IoEvents(self._on_metrics, self._on_fatal, self._on_exit)
        try:
            child = self._children[start.index] = IoProcess(start, events, self._clock)
            if self._note is not None:
                child.tell(self._note)
        except OSError as error:
            _log.error("%s cannot be started: %s", start.name, error)
            self._spawn_later(start, lived_seconds=0.0)

    def _spawn_later(self, start: IoStart, lived_seconds: float) -> None:
        self._loop.call_later(self._delays[start.index].after(lived_seconds), self._spawn_again, start.index)

    def _spawn_again(self, index: int) -> None:
        self._spawn(self._starts[index])

    def _on_metrics(self, delta: Mapping[str, Any], source: str) -> None:
        with self._metrics_lock:
            self._metrics.add(delta, source)

    def _on_fatal(self, sentence: str) -> None:
        if self._exit_code != EXIT_FATAL:
            self._exit_code = self._say(sentence)
            if not self._ending:
                self.terminate()

    def _on_exit(self, process: IoProcess, reason: str) -> None:
        del self._children[process.start.index]
        if process.child.exit_code != 0:
            self._clear_up_after(process, reason)
        if not self._ending:
            self._spawn_later(process.start, self._clock.monotonic() - process.started_at)
        self._finish_when_empty()

    def _clear_up_after(self, process: IoProcess, reason: str) -> None:
        _log.warning("%s (pid %d, %s) is gone: %s", process.start.name, process.child.pid, process.holder_id, reason)
        if self._ending:
            self._exit_code = max(self._exit_code, EXIT_UNCLEAN)
        task = asyncio.create_task(self._run_hook(process.holder_id))
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    async def _run_hook(self, holder_id: str) -> None:
        try:
            await asyncio.to_thread(self._on_io_death, holder_id)
        except Exception:
            # Its leases end by themselves then, only later.
            _log.exception("the leases of %s could not be ended", holder_id)

    def _begin_drain(self) -> None:
        _log.info("draining for up to %g s", self.plan.drain_seconds)
        for process in self._children.values():
            process.drain(self.plan.drain_seconds)
        self._loop.call_later(self.plan.drain_seconds + LEAVE_SECONDS, self._kill_all)
        self._finish_when_empty()

    def _begin_stop(self) -> None:
        _log.warning("stopping at once")
        self._exit_code = max(self._exit_code, EXIT_UNCLEAN)
        for process in self._children.values():
            process.stop()
        self._loop.call_later(STOP_SECONDS, self._kill_all)

    def _kill_all(self) -> None:
        for process in self._children.values():
            process.child.kill()

    def _say(self, sentence: str) -> int:
        sys.stderr.write(f"taskmesh {self.plan.command}: {sentence}\n")
        sys.stderr.flush()
        return EXIT_FATAL

    def _finish_when_empty(self) -> None:
        if self._ending and not self._children:
            self._finished.set()
