"""The mesh: where tasks and flows are declared, and from where runs are submitted."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from taskmesh.app.declarations import Declarations
from taskmesh.app.operating import Operating
from taskmesh.app.run import Run
from taskmesh.app.submittable import FlowFinder
from taskmesh.app.submitter import Submitter
from taskmesh.errors import UsageError
from taskmesh.plugins.catalog import NodeTypes

if TYPE_CHECKING:
    from taskmesh.app.producer import Producer
    from taskmesh.config.settings import Settings
    from taskmesh.dispatch.plan import Plan
    from taskmesh.model.states import RunState
    from taskmesh.store.records import RunSummary

P = ParamSpec("P")
R = TypeVar("R")


class Mesh(Submitter, Declarations, Operating):
    """Tasks, flows, and the way to the servers; embedded when none are configured.

    Making one is cheap: settings are read, and connections made, when they are first needed. Safe in threads, and in a
    child after a fork. ``settings`` stand above the environment and the configuration file, as
    ``Mesh(store={"url": "redis://..."})``.
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        super().__init__(NodeTypes(lambda: self.settings))
        self._overrides = overrides
        self._lock = threading.RLock()
        self._settings: Settings | None = settings
        self._producer: Producer | None = None
        self._lent: Producer | None = None
        self._owner = 0
        self._finder = FlowFinder(self._registered)
        _free_lock_after_fork(self)

    @property
    def settings(self) -> Settings:
        """The settings in force.

        :raises ConfigError: with every problem found.
        """
        with self._lock:
            if self._lent is not None:
                return self._lent.foundation.settings
            if self._settings is None:
                from taskmesh.config.loader import load_settings

                self._settings = load_settings(self._overrides)
            return self._settings

    def run(self, run_id: str) -> Run:
        """A handle of a run that exists."""
        return Run(self._working.client, run_id)

    def runs(
        self,
        status: RunState | None = None,
        flow: str | None = None,
        limit: int = 50,
        parent: str | None = None,
    ) -> list[RunSummary]:
        """The newest runs first; with ``parent``, those that nodes of that run wait for, or have begun last."""
        return self._working.client.list_runs(status, flow, limit, parent)

    @contextlib.contextmanager
    def local_worker(self, threads: int = 4, pools: Sequence[str] = (), watch_flows: bool = False) -> Iterator[None]:
        """A worker inside this process for the tasks that are registered here, for as long as the block runs.

        It works for the pools of these tasks, those of the settings, and ``pools``: those that flow files name. With
        ``watch_flows`` it also registers the flow files of ``flows.paths``, again whenever they change.

        :raises UnavailableError: the servers do not answer, or refuse.
        :raises UsageError: the settings ask for a limit of memory, which no worker inside a process can keep; or they
            name no flow files that could be watched.
        """
        with self._working.working(self.registry, threads, pools, watch_flows):
            yield

    @contextlib.contextmanager
    def lent(self, producer: Producer) -> Iterator[None]:
        """For as long as the block runs, go another way to the servers: that of a test, which closes it.

        :raises UsageError: another test has this mesh.
        """
        with self._lock:
            if self._lent is not None:
                raise UsageError("this mesh is in use by another virtual mesh; close that one first")
            self._lent = producer
        try:
            yield
        finally:
            self._lent = None

    def close(self) -> None:
        """Publish what waits, within the submit timeout, and give the connections back. Used again, it reconnects."""
        with self._lock:
            producer, self._producer = self._producer, None
            if producer is not None and self._owner == os.getpid():
                atexit.unregister(self.close)
                producer.close()

    @property
    def _working(self) -> Producer:
        with self._lock:
            if self._lent is not None:
                return self._lent
            if self._producer is None or self._owner != os.getpid():
                from taskmesh.app.producer import Producer

                # A child's sockets and threads are the parent's; it makes its own, and leaves those alone.
                self._producer = Producer.of(self.settings)
                self._owner = os.getpid()
                atexit.register(self.close)
            return self._producer

    def _registered(self, name: str) -> Plan:
        return self.flows.plan(name)


def _free_lock_after_fork(mesh: Mesh) -> None:
    """A thread that holds the lock while another forks is not there in the child to give it back."""
    reference = weakref.ref(mesh)

    def free() -> None:
        forked = reference()
        if forked is not None:
            forked._lock = threading.RLock()

    os.register_at_fork(after_in_child=free)
