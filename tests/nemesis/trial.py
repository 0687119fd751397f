"""One experiment under way: its servers, workers, load and log; and the verdict at its end."""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from taskmesh import Mesh
from taskmesh.errors import TaskmeshError
from tests.harness.processes import Process, Processes, processes
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.integration.mesh_bench import Worker
from tests.nemesis import app
from tests.nemesis.checker import Bounds, Checker, Effects
from tests.nemesis.crew import Crew
from tests.nemesis.effects import EFFECTS, END, Effect, read_effects
from tests.nemesis.figures import Figures
from tests.nemesis.grounds import Behind, Grounds, Terms
from tests.nemesis.history import History, Kind
from tests.nemesis.injected import crash_points
from tests.nemesis.injected.crash_points import Trap
from tests.nemesis.ledger import Ledger
from tests.nemesis.load import Load, Workload, await_with
from tests.nemesis.lossy_link import LossyLink
from tests.nemesis.proxy import AMQP, LOOPBACK, RESP, proxies
from tests.nemesis.queues import remove_queues
from tests.nemesis.recovery import HEARTBEAT_SECONDS, LEASE_SECONDS, Recovery, bound_seconds
from tests.nemesis.watch import Watch

INJECTED = Path(crash_points.__file__).parent

SHARDS = 4


class Trial:
    """What an experiment works with; ``finish`` ends it."""

    def __init__(self, grounds: Grounds, directory: Path, terms: Terms) -> None:
        self.rabbitmq, self.redis = grounds.rabbitmq, grounds.redis
        self.store_url = self.redis.url
        """Where processes reach Redis; to be changed before anything else is done."""
        self.seed = terms.seed
        self.dice = random.Random(terms.seed)
        self._terms = terms
        self.root = terms.root
        self.directory = directory
        self.namespace = f"n{secrets.token_hex(5)}"
        self.history = History(directory / "history")
        self.effects_file = directory / "effects"
        self.faults = 0
        self.measured: dict[str, float] = {}
        """What only this experiment measures, by what it is."""
        self.soak_seconds = terms.soak_minutes * 60
        self.figures: Figures | None = None
        self.queue_type = "quorum"
        self.open = ExitStack()
        self.children: Processes = self.open.enter_context(processes(directory))
        self.crew = Crew(self.children, directory, terms.root)
        self._loads: list[Load] = []
        self._struck_at = time.monotonic()
        self._watch = Watch()

    def own_redis(self, **options: Any) -> None:
        """Use a Redis of this experiment's own; to be called before anything else."""
        self.use(self.rabbitmq, self.open.enter_context(RedisServer(**options)))

    def use(self, rabbitmq: RabbitServer, redis: RedisServer) -> None:
        """Use these servers; to be called before anything else."""
        self.rabbitmq, self.redis = rabbitmq, redis
        self.store_url = redis.url

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every process."""
        return {
            "TASKMESH_NAMESPACE": self.namespace,
            "TASKMESH_BROKER_URL": self.rabbitmq.url,
            "TASKMESH_STORE_URL": self.store_url,
            "TASKMESH_WORKER__LEASE_SECONDS": str(LEASE_SECONDS),
            "TASKMESH_STORE__SOCKET_TIMEOUT_SECONDS": "1",
            "TASKMESH_BROKER__SHARDS": str(SHARDS),
            "TASKMESH_BROKER__HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            "TASKMESH_BROKER__QUEUE_TYPE": self.queue_type,
            "PYTHONPATH": os.pathsep.join([str(INJECTED), str(self._terms.root), os.environ.get("PYTHONPATH", "")]),
            EFFECTS: str(self.effects_file),
        }

    @cached_property
    def ledger(self) -> Ledger:
        ledger = Ledger(self.store_url, self.namespace)
        self.open.callback(ledger.close)
        return ledger

    @cached_property
    def mesh(self) -> Mesh:
        return self.client()

    def client(self, store_url: str | None = None, broker_url: str | None = None) -> Mesh:
        """A mesh to submit with, maybe through proxies; it is closed with the experiment."""
        broker = {"shards": SHARDS, "heartbeat_seconds": HEARTBEAT_SECONDS, "queue_type": self.queue_type}
        mesh = Mesh(
            namespace=self.namespace,
            broker={"url": broker_url or self.rabbitmq.url, **broker},
            store={"url": store_url or self.store_url, "socket_timeout_seconds": 1},
        )
        mesh.registry = app.mesh.registry
        self.open.callback(mesh.close)
        return mesh

    def worker(
        self,
        *arguments: str,
        traps: Sequence[Trap] = (),
        env: Mapping[str, str] | None = None,
        link: LossyLink | None = None,
        ready: bool = True,
    ) -> Worker:
        """Start a worker with two executors; ``traps`` kill its processes, ``link`` is its only way to others."""
        worker = self.crew.start({**self.environ, **(env or {})}, arguments, traps, link)
        if ready:
            worker.wait_ready()
        return worker

    def workers(
        self,
        count: int,
        traps: Sequence[Trap] = (),
        env: Mapping[str, str] | None = None,
        link: LossyLink | None = None,
    ) -> list[Worker]:
        """Start several workers at once."""
        started = [self.worker(traps=traps, env=env, link=link, ready=False) for _ in range(count)]
        for worker in started:
            worker.wait_ready()
        return started

    def behind_proxies(
        self, count: int = 1, env: Mapping[str, str] | None = None, link: LossyLink | None = None
    ) -> Behind:
        """Start workers that reach RabbitMQ and Redis through proxies alone, which are at the near end of ``link``."""
        make = self.open.enter_context(proxies(link.near if link else LOOPBACK))
        behind = Behind([], make(AMQP, self.rabbitmq.port), make(RESP, self.redis.port))
        urls = {"TASKMESH_BROKER_URL": behind.broker_url, "TASKMESH_STORE_URL": behind.store_url}
        behind.workers.extend(self.workers(count, env={**urls, **(env or {})}, link=link))
        return behind

    def kill(self, worker: Worker) -> None:
        """SIGKILL a whole worker."""
        self.crew.kill(worker)
        self.struck()

    def load(self, *flows: Any, runs: int, batch: int = 5, gap_seconds: float = 0.2, **params: Any) -> Load:
        """Begin to submit runs."""
        self._watch.look_out(self.ledger)
        load = Load(self.mesh, Workload(flows, runs, params, batch, gap_seconds), self.history, self.dice)
        self._loads.append(load)
        return load

    def submit_one(self, flow: Any, run_id: str, **params: Any) -> None:
        """Submit one run from this thread."""
        self._watch.look_out(self.ledger)
        self.history.note(Kind.INVOKE, [run_id], flow.name)
        self.mesh.submit_params(flow, params, id=run_id)
        self.history.note(Kind.OK, [run_id], flow.name)

    def runs_of(self, flow: Any) -> list[str]:
        """The accepted runs of a flow."""
        return [each.run_id for each in self.history.of(Kind.OK).values() if each.flow == flow.name]

    def submit_from_a_process(self, run_id: str, trap: Trap) -> None:
        """Submit a run from a process that dies of a trap; what it was told is unknown."""
        self._watch.look_out(self.ledger)
        environ = {**self.environ, **crash_points.environ_of(self.directory, (trap,))}
        self.history.note(Kind.INVOKE, [run_id], app.diamond.name)
        command = [sys.executable, "-m", "tests.nemesis.submitter", run_id]
        self.children.start(command, environ, cwd=self._terms.root).wait(30)
        self.history.note(Kind.INFO, [run_id], app.diamond.name)

    def command(self, *words: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a command of taskmesh, as somebody who operates it."""
        line = [sys.executable, "-X", "dev", "-m", "taskmesh", *words]
        return self.children.start(line, {**self.environ, **(env or {})}, cwd=self._terms.root)

    def watch(self) -> None:
        """Look from now on whether anything that has ended changes."""
        self._watch.observe(self.ledger, self.history, random.Random(self.seed))

    def struck(self) -> None:
        """A fault has just struck, or has just been healed."""
        self.faults += 1
        self._struck_at = time.monotonic()

    def effects(self, event: str | None = None) -> list[Effect]:
        found = read_effects(self.effects_file)
        return [effect for effect in found if event in (None, effect.event)]

    def await_effects(self, count: int, event: str = END) -> None:
        """Wait until tasks have left so many marks."""
        self.wait(lambda: len(self.effects(event)) >= count, f"{count} effects")

    def await_crashes(self, count: int) -> None:
        """Wait until traps have sprung so often."""
        self.wait(lambda: len(crash_points.crashes(self.directory)) >= count, f"{count} crashes at traps")
        self.faults += count
        self._struck_at = time.monotonic()

    def wait(self, condition: Callable[[], bool], what: str, timeout_seconds: float | None = None) -> None:
        await_with(condition, what, timeout_seconds or self._terms.patience_seconds)

    def pause(self, seconds: float) -> None:
        """Let a fault last; nothing is waited for by this."""
        time.sleep(seconds)

    def settle(self, timeout_seconds: float | None = None) -> None:
        """Wait until every submit is answered and every run has ended."""
        self.settle_loads()
        self.wait(self._all_ended, "end of all runs", timeout_seconds)

    def settle_loads(self) -> None:
        """Wait until every submit is answered."""
        for load in self._loads:
            load.finish(self._terms.patience_seconds)

    def finish(self, bounds: Bounds | None = None) -> Figures:
        """Wait for the end of every run, stop the workers, check every promise.

        :raises AssertionError: with each promise that was broken.
        """
        bounds = bounds or Bounds()
        ended = self._await_ends()
        bound = bound_seconds(bounds.own_waits_seconds, bounds.lease_seconds)
        recovery = Recovery.between(self._struck_at, time.monotonic(), self.effects(), bound)
        if ended:
            self._await_empty()
        counted = {name: self.crew.count(name) for name in ("stale_settlements_total", "redriven_total")}
        self.crew.stop()
        checker = Checker(self.ledger, self.history, self.effects(), bounds)
        broken = [*self._watch.finish(), *checker.violations()]
        if recovery.waited_seconds > recovery.bound_seconds:
            broken.append(f"I15 recovery: {recovery}")
        self.figures = self._measure(counted, checker, recovery)
        assert not broken, "\n".join(broken)
        return self.figures

    def close(self) -> None:
        self._watch.stop()
        self.open.close()
        remove_queues(self.rabbitmq, self.namespace, SHARDS)

    def _await_empty(self) -> None:
        """The last nodes leave the outboxes, and timers that nobody needs go, a little after the ends of runs."""
        try:
            self.wait(lambda: not self.ledger.due() and not self.ledger.timers(), "empty outboxes", 20)
        except AssertionError:
            # The checker says what is left.
            return

    def _await_ends(self) -> bool:
        """False when something never ended; the checker says what."""
        try:
            self.settle()
        except AssertionError:
            return False
        return True

    def _all_ended(self) -> bool:
        try:
            states = self.ledger.states([*self.history.accepted, *self.history.unknown])
        except TaskmeshError:
            return False
        return all(state is None or state.ended for state in states)

    def _measure(self, counted: Mapping[str, int], checker: Checker, recovery: Recovery) -> Figures:
        states = self.ledger.states(self.history.accepted)
        effects = Effects(self.effects())
        return Figures(
            accepted=len(states),
            ended=sum(state is not None and state.ended for state in states),
            executions=effects.begun.total(),
            duplicates=effects.duplicates,
            faults=self.faults,
            stale_refused=counted["stale_settlements_total"],
            redriven=counted["redriven_total"],
            dead_letters=len(self.ledger.dead_letters()),
            committed=checker.committed,
            undone=checker.undone,
            looks=self._watch.looks,
            forsaken_seconds=round(self._watch.forsaken_seconds, 1),
            recovery_seconds=round(recovery.seconds, 1),
            waited_seconds=round(recovery.waited_seconds, 1),
            bound_seconds=round(recovery.bound_seconds, 1),
            seed=self.seed,
            measured=self.measured,
        )
