"""One simulated mesh: servers, I/O processes, clients and what befalls them, all from one seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from itertools import count

from redis.connection import ConnectionPool

from taskmesh.store.keys import Keys
from taskmesh.store.link import Command
from taskmesh.worker.channels.protocol import Work
from tests.simulation.broker import SimBroker
from tests.simulation.families import Families
from tests.simulation.fate import Fate, chance_of
from tests.simulation.history import History
from tests.simulation.loop import SimLoop
from tests.simulation.process import ClientProcess, IoProcess, Site
from tests.simulation.store import SimServer, stall
from tests.simulation.trace import Trace
from tests.simulation.waiting import PlannedSignal, last_signals, slept_seconds
from tests.simulation.witness import AckWitness
from tests.simulation.works import MAX_DELAY_SECONDS, MOST_WAIT_SECONDS, Conduct, Executions, PlannedRun, plan_runs

START = 1000.0
CHAOS_SECONDS = 45.0
RUNS = (2, 8)
WORKERS = (2, 3)
SHARDS = (1, 3)
HELP_SECONDS = 3.0


class World:
    """Everything of one simulation. ``play`` lives it through."""

    def __init__(self, seed: int, pool: ConnectionPool, only: Collection[str] | None = None) -> None:
        self.seed = seed
        self.chance = chance_of(seed, "world")
        self.loop = SimLoop(START)
        self.trace = Trace(self.loop.time)
        self.fate = Fate(seed, only)
        self.site = Site(self.chance.randint(*SHARDS))
        self.keys = Keys(self.site.namespace, self.site.partitions)
        self.server = SimServer(pool, self.loop, chance_of(seed, "store"), self.fate)
        self.broker = SimBroker(
            self.loop, chance_of(seed, "broker"), self.fate, self.site.namespace, self.site.settings.broker.shards
        )
        self.history = History(self.server.now)
        self.executions = Executions()
        is_calm = only is not None and not only
        planned = plan_runs(seed, self.chance.randint(*RUNS), CHAOS_SECONDS * 0.7, is_calm)
        self.runs = {run.run_id: run for run in planned}
        self.history.plans = {run_id: run.plan for run_id, run in self.runs.items()}
        early_ack_seconds = self.site.settings.worker.early_ack_seconds
        witness = AckWitness(self.history, self.broker, self.fate.loses_messages, early_ack_seconds)
        self.families = Families(seed, self.server, self.keys, self.runs, self._on_birth)
        self.server.observers += [self.trace, self.families, self.history]
        self.broker.witnesses += [self.trace, witness]
        self.workers: list[IoProcess] = []
        self.healed_seconds = 0.0
        self._numbers = count(1)

    @property
    def work_seconds(self) -> float:
        """How long all of the user code takes, one after the other, with what is tried again or waits for a breaker."""
        behind_breakers = sum(node.guard is not None for run in self.runs.values() for node in run.plan.flow.nodes)
        waits = sum(slept_seconds(run.plan.flow.nodes) for run in self.runs.values())
        return (
            waits
            + behind_breakers * MOST_WAIT_SECONDS
            + sum(
                (conduct.seconds + MAX_DELAY_SECONDS * bool(conduct.failures))
                * (1 + min(conduct.failures, 3) + min(conduct.crashes, 3))
                for run in self.runs.values()
                for conduct in run.conducts.values()
            )
        )

    async def play(self) -> None:
        """Faults strike for a while; then they stop, and whatever was accepted must end."""
        for _ in range(self.chance.randint(*WORKERS)):
            self._boot()
        for run in self.runs.values():
            self._plan_client(run)
        for name, times in self.fate.times.items():
            chance = chance_of(self.seed, name, "when")
            for _ in range(times):
                self.loop.outside(chance.uniform(1, CHAOS_SECONDS), self._strike, name)
        await asyncio.sleep(CHAOS_SECONDS)
        self._heal()

    # What user code asks of its ward.

    def conduct_of(self, run_id: str, node: str) -> Conduct:
        return self.runs[run_id].conducts[node]

    def on_begin(self, actor: str, work: Work) -> int:
        run_id, node, _ = work.context
        before = self.executions.times[run_id, node]
        self.executions.times[run_id, node] += 1
        self.trace.note("begins", actor, *work.context)
        return before

    # Processes.

    def die(self, process: IoProcess | ClientProcess) -> None:
        """A process dies on the spot; most of the time somebody notices soon."""
        if process.actor.is_dead:
            return
        self.trace.note("dies", process.actor.name)
        process.actor.kill()
        noticed_after = self.chance.choice((0.001, 0.001, 30.0))
        self.loop.outside(noticed_after, self._hang_up, process.actor.name)
        if isinstance(process, IoProcess):
            self.workers.remove(process)
            if self.chance.random() < 0.7:
                self.loop.outside(self.chance.uniform(0.01, 1.0), self._end_lease, process.actor.name)
            self.loop.outside(self.chance.uniform(0.1, 5.0), self._boot)

    def cut_off(self, process: IoProcess | ClientProcess) -> None:
        """The network around a process is away for a while, sometimes for longer than its lease."""
        self.trace.note("is cut off", process.actor.name)
        process.actor.alone_until = self.loop.time() + self.chance.choice((0.5, 3.0, 10.0, 25.0))
        self._hang_up(process.actor.name)

    def _boot(self) -> None:
        process = IoProcess(f"io-{next(self._numbers)}", self)
        self.workers.append(process)
        self.trace.note("boots", process.actor.name)
        self.loop.inside(process.actor, process.boot)

    def _plan_client(self, run: PlannedRun) -> None:
        client = ClientProcess(f"client-{run.run_id}", self, run)
        self.loop.outside(run.submitted_at, self.loop.inside, client.actor, client.submit)
        self._plan_people(run)

    def _plan_people(self, run: PlannedRun) -> None:
        for verb, seconds in run.wishes:
            self.loop.outside(seconds, self._steer, run, verb)
        for signal in run.signals:
            self.loop.outside(signal.at, self._signal, run, signal)

    def _on_birth(self, child: PlannedRun) -> None:
        self.history.plans[child.run_id] = child.plan
        self._plan_people(child)

    def _help_children(self) -> None:
        """What a child waits for comes, as long as somebody waits for the child; an orphan waits for ever."""
        for run in list(self.runs.values()):
            if run.parent is not None and self.families.is_wanted(run) and run.run_id not in self.history.ended:
                for signal in last_signals(run.plan):
                    self._signal(run, signal)
        self.loop.outside(HELP_SECONDS, self._help_children)

    def _steer(self, run: PlannedRun, verb: str) -> None:
        client = ClientProcess(f"{verb}-{run.run_id}", self, run)
        self.loop.inside(client.actor, client.steer, verb)

    def _signal(self, run: PlannedRun, signal: PlannedSignal) -> None:
        client = ClientProcess(f"{signal.id}-{signal.node}-{run.run_id}", self, run)
        self.loop.inside(client.actor, client.signal, signal)

    def _hang_up(self, name: str) -> None:
        for connection in [each for each in self.broker.connections if each.actor.name == name]:
            connection.cut(is_reset=True)

    def _end_lease(self, name: str) -> None:
        commands = [Command(each.holders, "ZREM", each.holders, name) for each in self.keys.partitions]
        self.server.carry_out("supervisor", commands)

    # What befalls them.

    def _strike(self, name: str) -> None:
        if not self.fate.is_over:
            self.fate.struck[name] += 1
            self.trace.note("strikes", name)
            self._blows()[name]()

    def _blows(self) -> dict[str, Callable[[], None]]:
        return {
            "kill": lambda: self._to_somebody(self.die),
            "pause": lambda: self._to_somebody(self._pause),
            "retire": lambda: self._to_somebody(self._retire),
            "cut off": lambda: self._to_somebody(self.cut_off),
            "cut": self._cut,
            "cut all": self.broker.cut_all,
            "broker down": self._take_broker_down,
            "broker wiped": self.broker.wipe,
            "queue deleted": self._delete_queue,
            "alarm": self._raise_alarm,
            "store down": self._take_store_down,
            "keeper's lock lost": lambda: self.server.delete(self.chance.choice(self.keys.partitions).keeper),
            "lease lost": lambda: self._to_somebody(lambda process: self._end_lease(process.actor.name)),
        }

    def _to_somebody(self, blow: Callable[[IoProcess], None]) -> None:
        if self.workers:
            blow(self.chance.choice(self.workers))

    def _pause(self, process: IoProcess) -> None:
        stall(self.loop, process.actor, self.chance.choice((0.5, 5.0, 20.0, 40.0)))

    def _retire(self, process: IoProcess) -> None:
        self.loop.inside(process.actor, process.retire, self.chance.choice((0.0, 1.0, 10.0)))

    def on_retired(self, process: IoProcess) -> None:
        self.die(process)

    def _cut(self) -> None:
        if self.broker.connections:
            self.chance.choice(self.broker.connections).cut(self.chance.random() < 0.5)

    def _take_broker_down(self) -> None:
        self.broker.is_up = False
        self.broker.cut_all()
        self.loop.outside(self.chance.uniform(0.5, 15.0), self._bring_broker_up)

    def _bring_broker_up(self) -> None:
        self.broker.is_up = True

    def _delete_queue(self) -> None:
        if self.broker.queues:
            self.broker.delete(self.chance.choice(list(self.broker.queues)))

    def _raise_alarm(self) -> None:
        self.broker.set_alarm(True)
        self.loop.outside(self.chance.uniform(0.5, 20.0), self.broker.set_alarm, False)

    def _take_store_down(self) -> None:
        self.server.is_up = False
        self.loop.outside(self.chance.uniform(0.1, 20.0), self._bring_store_up)

    def _bring_store_up(self) -> None:
        self.server.is_up = True

    def _heal(self) -> None:
        """No fault strikes any more; what was struck comes back by itself."""
        self.trace.note("heals")
        self.fate.is_over = True
        self.broker.is_up = self.server.is_up = True
        self.broker.set_alarm(False)
        for process in self.workers:
            process.actor.alone_until = 0.0
        for run in [run for run in self.runs.values() if run.parent is None]:
            # Whoever wanted to may have died.
            self._steer(run, "resume")
            for signal in last_signals(run.plan):
                self._signal(run, signal)
        self._help_children()
