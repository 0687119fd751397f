"""The producer's side of one process: foundation, publisher thread, client."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskmesh.app.assembly import Foundation, lay_foundation
from taskmesh.app.run import Run
from taskmesh.app.submitting import SubmitOptions, context_of
from taskmesh.broker.factory import open_publisher
from taskmesh.client.breakers import BreakerBox
from taskmesh.client.client import Client
from taskmesh.client.dead_letters import DeadLetterBox
from taskmesh.client.flow_versions import FlowBox
from taskmesh.client.limits import ClientLimits
from taskmesh.client.parts import LOOK_AGAIN_SECONDS, ClientParts, Outlet
from taskmesh.client.publisher_thread import PublisherThread
from taskmesh.client.publishing import EventDoor
from taskmesh.client.pushed_settings import SettingsBox
from taskmesh.client.schedules import ScheduleBox
from taskmesh.client.taps import Taps
from taskmesh.config.settings import Settings
from taskmesh.dispatch.entrance import Submission
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import StoreUnavailableError
from taskmesh.model.flow import Flow
from taskmesh.model.schedules.schedule import Schedule
from taskmesh.payload.large_values import LargeValues
from taskmesh.resilience.breaker import local_breaker
from taskmesh.store.breakers import breakers_of
from taskmesh.store.flow_versions import flow_versions_of
from taskmesh.store.pushed_settings import pushed_settings_of
from taskmesh.store.subscription import Subscription
from taskmesh.tasks.registry import Registry
from taskmesh.worker.executors.invoke import current_request

PLANS_KEPT = 256

STORE_FAILURES = 5
"""So many submits in a row wait for a Redis that does not answer; the next ones are refused at once."""

STORE_RESET_SECONDS = 1.0


class Producer:
    """Everything that a process needs to submit runs and to read them."""

    def __init__(
        self,
        foundation: Foundation,
        publisher: Outlet,
        taps: Taps,
        store_reset_seconds: float = STORE_RESET_SECONDS,
        look_again_seconds: float = LOOK_AGAIN_SECONDS,
    ) -> None:
        settings = foundation.settings
        self.foundation = foundation
        self._deadline_seconds = settings.client.submit_timeout_seconds
        self._plans: dict[int, tuple[Flow, Plan]] = {}
        self._lock = threading.Lock()
        parts = ClientParts(
            store=foundation.store,
            reader=foundation.reader,
            letters=foundation.letters,
            keys=foundation.keys,
            plans=foundation.plans,
            publisher=publisher,
            taps=taps,
            clock=foundation.clock,
            store_breaker=local_breaker(
                "the way to Redis",
                STORE_FAILURES,
                store_reset_seconds,
                counts=(StoreUnavailableError,),
                error=StoreUnavailableError,
            ),
            look_again_seconds=look_again_seconds,
            large=LargeValues(foundation.payloads, settings.payload.claim_check_bytes),
        )
        limits = ClientLimits(settings.limits.max_value_bytes, settings.limits.max_nodes)
        self.client = Client(parts, limits)
        self.schedules = ScheduleBox(parts, foundation.housekeeping, limits)
        self.breakers = BreakerBox(breakers_of(foundation.store))
        self.flows = FlowBox(flow_versions_of(foundation.store))
        self.config = SettingsBox(pushed_settings_of(foundation.store), foundation.housekeeping)
        self.dead_letters = DeadLetterBox(foundation.letters, publisher, foundation.clock, settings.namespace)
        self.events = EventDoor(parts, settings.limits.max_value_bytes)

    @classmethod
    def of(cls, settings: Settings) -> Producer:
        """Connect to what the settings name; errors as of ``lay_foundation``."""
        foundation = lay_foundation(settings)
        publisher = PublisherThread(
            lambda on_fatal: open_publisher(foundation.broker, on_fatal), settings.client.submit_timeout_seconds
        )
        return cls(foundation, publisher, Taps(lambda: Subscription(foundation.link)))

    def submit(
        self,
        what: Flow | Plan,
        params: Sequence[Mapping[str, Any]],
        ids: Sequence[str] | None,
        options: SubmitOptions,
    ) -> list[Run]:
        """Submit runs of one flow; what is not said of the request that they serve is taken from the running task."""
        plan = self._plan(what)
        tags, deadline_seconds = options.get("tags"), options.get("deadline_seconds")
        context = context_of(options).checked().over(current_request())
        names: Sequence[str | None] = ids if ids is not None else [None] * len(params)
        pairs = zip(params, names, strict=True)
        submissions = [Submission(each, run_id, tags, deadline_seconds, context) for each, run_id in pairs]
        return [Run(self.client, run_id, plan) for run_id in self.client.submit(plan, submissions)]

    def put_schedule(self, what: Flow | Plan, schedule: Schedule) -> bool:
        """Have runs of a flow begin by themselves; says whether that changed anything."""
        return self.schedules.put(schedule, self._plan(what))

    @contextlib.contextmanager
    def working(self, registry: Registry, threads: int, pools: Sequence[str], watch_flows: bool) -> Iterator[None]:
        """A worker for these tasks; see ``Mesh.local_worker``."""
        from taskmesh.app.local_worker import LocalWorker

        worker = LocalWorker(self.foundation, registry, threads, pools, watch_flows)
        worker.start()
        try:
            yield
        finally:
            worker.stop()

    def close(self) -> None:
        self.client.close(self._deadline_seconds)
        self.foundation.close()

    def _plan(self, what: Flow | Plan) -> Plan:
        """The plan of a flow, kept with the flow itself so that its place in memory is not used again."""
        if isinstance(what, Plan):
            return what
        known = self._plans.get(id(what))
        if known is None:
            known = (what, Plan.of(what))
            with self._lock:
                while len(self._plans) >= PLANS_KEPT:
                    del self._plans[next(iter(self._plans))]
                self._plans[id(what)] = known
        return known[1]
