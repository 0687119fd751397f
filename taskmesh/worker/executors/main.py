"""An executor process: runs user code, and talks with its I/O process through one private socket.

``python -m taskmesh.worker.executors.main --fd N -A module[:attribute]``

One thread reads the channel; ``threads`` threads, the main thread among them, run sync tasks in the order
of their arrival; one event loop on a thread of its own runs async tasks. How much is in flight is decided
by the I/O process alone.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from taskmesh.clock import SystemClock
from taskmesh.config.loader import restore_settings
from taskmesh.config.settings import Settings
from taskmesh.errors import PayloadUnavailableError, UsageError
from taskmesh.observability.logs import configure
from taskmesh.payload.opening import open_payloads, payload_settings
from taskmesh.plugins.catalog import NodeTypes
from taskmesh.worker.channels.adoption import adopt_channel
from taskmesh.worker.channels.channel import BlockingChannel
from taskmesh.worker.channels.protocol import Kind, Work
from taskmesh.worker.executors.asynchronous import AsyncLane
from taskmesh.worker.executors.invoke import Invoker, log_subject
from taskmesh.worker.executors.large_outputs import LargeOutputs
from taskmesh.worker.executors.loading import load_runnables
from taskmesh.worker.executors.memory_cap import cap_own_memory
from taskmesh.worker.executors.pulse import Pulse

UNFIT_EXIT_CODE = 2


class Executor:
    """The threads of one executor process."""

    def __init__(
        self, channel: BlockingChannel, invoker: Invoker, threads: int, set_logging: Callable[[Settings], None]
    ) -> None:
        self._channel = channel
        self._invoker = invoker
        self._set_logging = set_logging
        self._threads = threads
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._async_lane = AsyncLane(invoker, channel)

    def run(self) -> None:
        """Work until told to stop. The main thread works too, since some libraries insist on it."""
        _start_thread("channel", self._read)
        for number in range(1, self._threads):
            _start_thread(f"task-{number}", self._work)
        self._work()

    def _read(self) -> None:
        try:
            while messages := self._channel.receive():
                for kind, payload in messages:
                    self._take(kind, payload)
        finally:
            # The I/O process is gone, and with it the right to run what is here. A task cannot be interrupted.
            os._exit(1)

    def _take(self, kind: str, payload: Any) -> None:
        if kind == Kind.WORK:
            self._take_works([Work(*fields) for fields in payload])
        elif kind == Kind.RECALL:
            self._channel.send((Kind.RECALLED, [work.id for work in self._take_back()]))
        elif kind == Kind.CANCEL:
            self._invoker.pulse.cancel(payload)
        elif kind == Kind.SETTINGS:
            self._set_logging(restore_settings(payload))
        elif kind == Kind.STOP:
            self._take_back()
            for _ in range(self._threads):
                self._queue.put(None)

    def _take_works(self, works: Sequence[Work]) -> None:
        concurrent = []
        for work in works:
            if self._invoker.is_async(work):
                concurrent.append(work)
            else:
                self._queue.put(work)
        if concurrent:
            self._async_lane.start(concurrent)

    def _take_back(self) -> list[Work]:
        waiting = []
        try:
            while work := self._queue.get_nowait():
                waiting.append(work)
        except Empty:
            pass
        return waiting

    def _work(self) -> None:
        while self._work_once(self._queue.get()):
            pass

    def _work_once(self, work: Work | None) -> bool:
        # A function of its own, so that nothing of a finished work is held while waiting for the next.
        if work is not None:
            if work.timed:
                self._channel.send((Kind.STARTED, work.id))
            self._channel.send((Kind.OUTCOME, self._invoker.run(work)))
        return work is not None


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    channel = BlockingChannel(adopt_channel(options.fd))
    _show_prints_line_by_line()
    if options.memory_mb:
        cap_own_memory(options.memory_mb)
    try:
        settings = _read_settings(channel)
        node_types = NodeTypes(lambda: settings) if options.node_types else None
        tasks, large = load_runnables(options.apps, node_types), _large_outputs(settings)
    except (UsageError, PayloadUnavailableError) as error:
        channel.send((Kind.UNFIT, str(error)))
        return UNFIT_EXIT_CODE
    # An app that has set logging up for itself keeps that.
    set_logging = _leave_logging if logging.getLogger().handlers else _set_logging
    set_logging(settings)
    channel.send((Kind.READY, {name: task.is_async for name, task in tasks.items()}))
    clock = SystemClock()
    pulse = Pulse(lambda beats: channel.send((Kind.BEATS, beats)), clock)
    Executor(channel, Invoker(tasks, options.max_value_bytes, clock, pulse, large), options.threads, set_logging).run()
    return 0


def _read_settings(channel: BlockingChannel) -> Settings:
    """What the I/O process sends before all else, or what it has sent since then.

    :raises UsageError: it sends something else, or ends.
    """
    said = [payload for kind, payload in channel.receive() if kind == Kind.SETTINGS]
    if not said:
        raise UsageError("an executor is started by an I/O process of a worker, which sends it the settings")
    return restore_settings(said[-1])


def _set_logging(settings: Settings) -> None:
    configure(settings.log.level, settings.log.format, sys.stderr, log_subject)


def _leave_logging(settings: Settings) -> None:
    """The app does it by itself."""


def _large_outputs(settings: Settings) -> LargeOutputs:
    place = open_payloads(payload_settings(settings))
    return LargeOutputs(lambda: place, settings.payload.claim_check_bytes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="taskmesh.worker.executors.main", description="Started by an I/O process.")
    parser.add_argument("--fd", type=int, required=True, help="the socket to the I/O process")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-value-bytes", type=int, required=True)
    parser.add_argument("--memory-mb", type=int, default=0)
    parser.add_argument("--node-types", action="store_true")
    parser.add_argument("-A", dest="apps", action="append", default=[], metavar="MODULE[:ATTRIBUTE]")
    return parser.parse_args(arguments)


def _show_prints_line_by_line() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _start_thread(name: str, target: Any) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
