"""A mesh for tests: whole, in this process, and on a time of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypedDict, Unpack

from taskmesh.app.assembly import build_on
from taskmesh.app.mesh import Mesh
from taskmesh.app.producer import Producer
from taskmesh.broker.settings import BrokerSettings
from taskmesh.config.settings import DAY_SECONDS, BrokerSection, Settings, StoreSection
from taskmesh.errors import UsageError
from taskmesh.tasks.task import Task
from taskmesh.testing.agenda import Agenda
from taskmesh.testing.calls import RUN_IT, Call, Error, Part, Stub, errors_of
from taskmesh.testing.cast import Cast
from taskmesh.testing.clock import VirtualClock, seconds_of
from taskmesh.testing.faults import Faults
from taskmesh.testing.link import VirtualLink
from taskmesh.testing.producer import VirtualProducer
from taskmesh.testing.road import Road
from taskmesh.testing.server import VirtualServer
from taskmesh.testing.telling import waits_of
from taskmesh.testing.threads import TaskThreads
from taskmesh.testing.worker import Crew, WorkerParts
from taskmesh.testing.world import Outlook, World

START = datetime(2030, 1, 1, tzinfo=UTC)
PATIENCE_SECONDS = 60.0

RETENTION_SECONDS = 10 * 365 * DAY_SECONDS
"""However far a test moves the time on, its runs are there at the end."""


@dataclass(frozen=True, slots=True)
class _Inner:
    """What a virtual mesh is made of."""

    world: World
    link: VirtualLink
    producer: VirtualProducer
    threads: TaskThreads
    crew: Crew
    agenda: Agenda
    faults: Faults


class VirtualMesh(Mesh):
    """Runs the flows of apps in the test's process: the real engine and the real scripts, on virtual time.

    It has the tasks of ``apps``, and those that are declared at itself. Until it is closed, whatever the apps submit
    goes here, too. Nothing happens while nobody waits: ``run.result()``, ``run.wait()``, ``run.watch()``, and what
    this class adds to ``Mesh``, let it go on. The time stands still while a task runs, and moves on to whatever is due
    next once nothing else can happen.

    ``start`` is what its clock shows first. ``threads`` is how many functions run at once; with one, in the same order
    each time. ``settings`` gives limits and what workers do; servers it does not use. ``patience_seconds`` bounds
    every wait by the clock on the wall.
    """

    def __init__(
        self,
        *apps: Mesh,
        server: VirtualServer,
        start: datetime = START,
        threads: int = 1,
        settings: Settings | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """:raises UsageError: an app is in another virtual mesh, two have a task of the same name, no zone is given."""
        super().__init__(_own_settings(settings or Settings(), server.new_namespace()))
        self._apps = apps
        self._collect()
        self._server = server
        self._world = World(seconds_of(start), patience_seconds)
        self.clock = VirtualClock(self._world, self._prepare)
        self._cast = Cast(self.registry, self.clock)
        self._inner = self._build(threads)
        self._is_closed = False
        self._closing = contextlib.ExitStack()
        self._open()

    def stub(
        self,
        task: Task[Any, Any] | str,
        *,
        returns: Any = RUN_IT,
        raises: Error | Sequence[Error] | None = None,
        side_effect: Callable[..., Any] | None = None,
        times: int | None = None,
        takes: float = 0.0,
        node: str | None = None,
    ) -> Stub:
        """Let something stand in for a task: for the block, as a context manager, or to the end of the test.

        Its calls give ``returns``, or what ``side_effect`` gives, which is called with the arguments. ``raises`` is an
        error for each call, or a list: the first calls raise those, one each. Where nothing of that is left or given,
        the task's own function runs. Each call ``takes`` so many virtual seconds, ``math.inf``: for ever. After
        ``times`` calls the stub steps aside. With ``node`` it answers for nodes of that name alone. Of several stubs,
        the newest answers.

        :raises UnknownTaskError: there is no such task. :raises UsageError: it is asked for two things at once.
        """
        if returns is not RUN_IT and side_effect is not None:
            raise UsageError("a stub gives either returns or what its side_effect gives")
        errors, always = errors_of(raises)
        if always and (returns is not RUN_IT or side_effect is not None):
            raise UsageError("a stub that raises at each call gives nothing; name the errors of the first in a list")
        if takes < 0 or (times is not None and times < 1):
            raise UsageError("a stub takes no less than 0 seconds, and answers once at least")
        part = Part(returns, errors, always, side_effect, takes)
        return self._cast.stub(self._cast.name_of(task), node, part, times)

    def calls(self, task: Task[Any, Any] | str) -> list[Call]:
        """The calls of a task so far, in the order in which they ended, stubbed or not.

        :raises UnknownTaskError: there is no such task.
        """
        return self._cast.calls(self._cast.name_of(task))

    @property
    def faults(self) -> Faults:
        """What is to go wrong."""
        return self._inner.faults

    def settle(self) -> None:
        """Wait until all has happened that can happen without the time moving on."""
        self._prepare()
        self._world.settle()

    def run_until(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Move the time on until a condition holds. It is asked in this thread, whenever the mesh is at rest.

        :raises StandstillError: nothing will happen any more, and it does not hold.
        :raises TimeoutError: it does not hold ``timeout`` virtual seconds from now.
        """
        self._prepare()
        until = float("inf") if timeout is None else self.clock.now() + timeout
        if not self._world.wait(condition, until):
            raise TimeoutError(f"the condition does not hold after {timeout:g} s of the mesh's time")

    def close(self) -> None:
        """End it, and give the apps their own way back. Twice does no harm."""
        self._is_closed = True
        self._closing.close()

    def __enter__(self) -> VirtualMesh:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _working(self) -> Producer:
        if self._is_closed:
            raise UsageError("this virtual mesh is closed")
        return self._inner.producer

    def _build(self, threads: int) -> _Inner:
        world, settings = self._world, self.settings
        link = VirtualLink(self._server.open_link(), world.loop)
        broker = BrokerSettings(url="memory:", namespace=settings.namespace, shards=1)
        foundation = build_on(link, self.clock, settings, broker, self._server.embedded)
        faults = Faults(self._cast, link, foundation.plans.get, self.clock.now)
        road = Road(settings.namespace, world.loop, faults)
        task_threads = TaskThreads(world, threads)
        crew = Crew(WorkerParts(world, foundation, road, task_threads, self._cast, faults))
        producer = VirtualProducer(foundation, world, road, self._prepare)
        agenda = Agenda(link, foundation.keys)
        return _Inner(world, link, producer, task_threads, crew, agenda, faults)

    def _open(self) -> None:
        inner = self._inner
        self._closing.callback(inner.link.close)
        self._closing.callback(self._server.forget, inner.link.real, self.settings.namespace)
        self._closing.callback(inner.producer.client.close, 0.0)
        self._closing.callback(inner.world.close)
        self._closing.callback(inner.threads.close)
        inner.world.begin(_Surroundings(inner, self))
        try:
            for app in self._apps:
                self._closing.enter_context(app.lent(inner.producer))
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Somebody waits: have a worker for whatever can run by now."""
        self._collect()
        pools = {task.pool for task in self.registry} | set(self.settings.worker.pools)
        self._world.call(self._inner.crew.serve, sorted(pools))

    def _collect(self) -> None:
        """Take over what the apps have declared; modules may be imported, and declare more, at any time."""
        for app in self._apps:
            for task in app.registry:
                self.registry.add(task)
            for rules in app.registry.breakers.values():
                self.registry.declare(rules)


class MeshOptions(TypedDict, total=False):
    """See ``VirtualMesh``."""

    start: datetime
    threads: int
    settings: Settings | None
    patience_seconds: float


class MeshFactory(Protocol):
    """What the fixture ``mesh_factory`` is: makes virtual meshes, which are closed after the test."""

    def __call__(self, *apps: Mesh, **options: Unpack[MeshOptions]) -> VirtualMesh:
        """A virtual mesh; parameters and errors as of ``VirtualMesh``."""


class _Surroundings:
    """What the world asks of its mesh."""

    def __init__(self, inner: _Inner, mesh: VirtualMesh) -> None:
        self._inner = inner
        self._mesh = mesh

    def outlook(self) -> Outlook:
        return self._inner.agenda.read(self._inner.crew.at_work)

    def before_jump(self, seconds: float) -> None:
        # While the store is away nobody can renew anything.
        if not self._inner.link.is_away:
            self._inner.crew.renew(seconds)

    def running(self, blocked: int) -> Sequence[str]:
        return self._inner.threads.at_work(blocked)

    def waits(self) -> str:
        return waits_of([self._mesh.run(each.run_id) for each in self._mesh.runs() if not each.status.ended])


def _own_settings(settings: Settings, namespace: str) -> Settings:
    """The settings of a mesh in the memory of a test: no servers; and who does not know a task need not ask others."""
    return replace(
        settings,
        namespace=namespace,
        broker=BrokerSection(shards=1),
        store=StoreSection(partitions=1, retention_seconds=RETENTION_SECONDS),
        worker=replace(settings.worker, unknown_task_seconds=0),
    )
