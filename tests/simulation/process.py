"""The processes of a simulated mesh: I/O processes with the product's session, and clients with its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Protocol

from taskmesh.app.assembly import Foundation
from taskmesh.app.session import Identity, Session
from taskmesh.broker.factory import OnFatal
from taskmesh.broker.protocol import Outgoing
from taskmesh.broker.settings import BrokerSettings
from taskmesh.client.client import Client
from taskmesh.client.controlling import RunControl
from taskmesh.client.limits import ClientLimits
from taskmesh.client.parts import ClientParts
from taskmesh.client.signalling import Signalling
from taskmesh.config.settings import BrokerSection, Settings, StoreSection, WorkerSection
from taskmesh.dispatch.entrance import Submission
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import RunNotFoundError, RunStateError, StoreUnavailableError, TaskmeshError
from taskmesh.store.calls import Who
from taskmesh.store.housekeeping import Housekeeping
from taskmesh.store.keys import Keys
from taskmesh.store.letters import Letters
from taskmesh.store.reader import Reader
from taskmesh.store.store import Store
from taskmesh.worker.channels.protocol import Work
from tests.simulation.broker import SimBroker
from tests.simulation.executors import SimPool
from tests.simulation.fate import Fate
from tests.simulation.links import SimConsumer, SimPublisher
from tests.simulation.loop import Actor, SimLoop
from tests.simulation.store import SimLink, SimServer
from tests.simulation.trace import Trace
from tests.simulation.waiting import PlannedSignal
from tests.simulation.works import POOLS, Conduct, PlannedRun

WINDOWS = (1, 8)
ASK_AGAIN_SECONDS = 0.5


class Site:
    """What all processes of a mesh agree on."""

    namespace = "sim"
    partitions = 2
    retention_seconds = 7 * 86_400

    def __init__(self, shards: int) -> None:
        self.settings = Settings(
            namespace=self.namespace,
            broker=BrokerSection(url="amqp://simulated", shards=shards),
            store=StoreSection(url="redis://simulated", partitions=self.partitions),
            worker=WorkerSection(pools=POOLS),
        )
        self.broker = BrokerSettings(url="amqp://simulated", namespace=self.namespace, shards=shards)


class Surroundings(Protocol):
    """What a process is in."""

    site: Site
    loop: SimLoop
    chance: Random
    fate: Fate
    server: SimServer
    broker: SimBroker
    trace: Trace

    def die(self, process: Any) -> None: ...

    def cut_off(self, process: Any) -> None: ...

    def on_retired(self, process: Any) -> None: ...

    def conduct_of(self, run_id: str, node: str) -> Conduct: ...

    def on_begin(self, actor: str, work: Work) -> int: ...


class LoopClock:
    """The product's clock, on the simulation's time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError("nothing here may block the loop")


class Process:
    """An actor with a way to the store of its own."""

    def __init__(self, name: str, world: Surroundings) -> None:
        self.actor = Actor(name)
        self.world = world
        link = SimLink(world.server, self.actor, lambda: world.die(self), lambda: world.cut_off(self))
        self.foundation = self._foundation(link)

    def _foundation(self, link: SimLink) -> Foundation:
        site = self.world.site
        keys = Keys(site.namespace, site.partitions)
        reader = Reader(link, keys)
        return Foundation(
            settings=site.settings,
            clock=LoopClock(self.world.loop),
            link=link,
            keys=keys,
            store=Store(link, keys, site.retention_seconds),
            reader=reader,
            housekeeping=Housekeeping(link, keys, site.retention_seconds),
            letters=Letters(link, keys, 1000, 1_000_000),
            plans=Plans(reader.flow_body),
            broker=site.broker,
            embedded=None,
        )

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.world.loop.create_task(coroutine)
        task.add_done_callback(_show_failure)
        return task

    def publisher(self) -> SimPublisher:
        return SimPublisher(self.world.broker, self.actor, self.world.site.broker, self.world.fate)


def _show_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


class IoProcess(Process):
    """One I/O process of a worker, with its executors."""

    _is_leaving = False

    def boot(self) -> None:
        """To be called in the context of the actor, like everything here."""
        self.session = Session(
            self.foundation,
            Identity(self.actor.name, POOLS),
            self._pool,
            self._refused,
            self._publisher,
            self._consumer,
        )
        self._start = self._begin(self.session.start())

    def retire(self, seconds: float) -> None:
        """End as after SIGTERM, with so much time to finish what runs; once is enough."""
        if not self._is_leaving:
            self._is_leaving = True
            self._end = self._begin(self._leave(seconds))

    async def _leave(self, seconds: float) -> None:
        self._start.cancel()
        await self.session.drain(seconds)
        await self.session.close()
        self.world.on_retired(self)

    def _pool(self, engine: Any) -> SimPool:
        window = self.world.chance.randint(*WINDOWS)
        return SimPool(self.world.loop, self.actor, self.world, engine, window)

    def _publisher(self, settings: BrokerSettings, on_fatal: OnFatal) -> SimPublisher:
        return self.publisher()

    def _consumer(
        self,
        settings: BrokerSettings,
        pools: Sequence[str],
        holder: str,
        on_fatal: OnFatal,
        prefetch: int,
    ) -> SimConsumer:
        return SimConsumer(self.world.broker, self.actor, settings, pools, prefetch)

    def _refused(self, error: TaskmeshError) -> None:
        raise error


class ClientProcess(Process):
    """An app that submits one run, or steers it."""

    def __init__(self, name: str, world: Surroundings, run: PlannedRun) -> None:
        super().__init__(name, world)
        self._run = run

    def submit(self) -> None:
        """Submit, again and again until the store has answered."""
        self._client = Client(self._parts(), ClientLimits(1_000_000, 1_000))
        self._insist(self._submit)

    def steer(self, verb: str) -> None:
        """``pause``, ``resume``, ``cancel``, ``cancel and undo`` or ``terminate`` it."""
        control, who = RunControl(self._parts(), 1_000_000), Who(self.actor.name, "")
        calls = {
            "pause": lambda: control.pause([self._run.run_id], who),
            "resume": lambda: control.resume([self._run.run_id]),
            "cancel": lambda: control.cancel([self._run.run_id], who),
            "cancel and undo": lambda: control.cancel([self._run.run_id], who, compensate=True),
            "terminate": lambda: control.terminate([self._run.run_id], who),
        }
        self._insist(lambda: self.world.trace.note(self.actor.name, verb, calls[verb]()))

    def signal(self, signal: PlannedSignal) -> None:
        """Send a node what it waits for. It may have had another by then, or be over; its run may not be there yet."""
        sender = Signalling(self._parts(), 1_000_000)

        def send() -> None:
            try:
                new = sender.signal(self._run.run_id, signal.node, {"value": signal.value}, "somebody", signal.id)
            except RunStateError as error:
                self.world.trace.note(self.actor.name, "is refused", str(error))
            except RunNotFoundError:
                self.world.trace.note(self.actor.name, "is too early")
                if self._run.is_accepted or not self.world.fate.is_over:
                    self.world.loop.call_later(ASK_AGAIN_SECONDS, self._insist, send)
            else:
                self.world.trace.note(self.actor.name, "signals", new)

        self._insist(send)

    def _submit(self) -> None:
        self._client.submit(self._run.plan, [Submission({}, self._run.run_id)])
        self._run.is_accepted = True

    def _insist(self, call: Callable[[], None]) -> None:
        try:
            call()
        except StoreUnavailableError:
            self.world.loop.call_later(ASK_AGAIN_SECONDS, self._insist, call)

    def _parts(self) -> ClientParts:
        publisher = self.publisher()
        self._begin(publisher.start())
        parts: Any = {
            "store": self.foundation.store,
            "reader": self.foundation.reader,
            "letters": self.foundation.letters,
            "keys": self.foundation.keys,
            "plans": self.foundation.plans,
            "publisher": _Feed(publisher, self),
            "taps": None,
            "clock": self.foundation.clock,
            "store_breaker": _Unbroken(),
        }
        return ClientParts(**parts)


class _Feed:
    """A publisher as a client knows it; the client may die before it hands over the first nodes of its run."""

    def __init__(self, publisher: SimPublisher, client: ClientProcess) -> None:
        self._publisher = publisher
        self._client = client

    def publish(self, messages: Sequence[Outgoing]) -> None:
        world = self._client.world
        if world.fate.strikes("client dies"):
            world.die(self._client)
        self._publisher.publish(messages)


class _Unbroken:
    """A breaker that stays closed: the product's counts real seconds."""

    @contextmanager
    def calling(self) -> Iterator[None]:
        yield
