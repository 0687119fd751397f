"""A virtual mesh beside others, around apps, and after its end."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

import taskmesh.testing
from taskmesh import Mesh, RunNotFoundError, Settings, UsageError, load_flow
from taskmesh.config.settings import WorkerSection
from taskmesh.store.link import Command
from taskmesh.testing import MeshFactory, StandstillError, VirtualMesh, VirtualServer


def test_every_public_name_is_there_and_the_list_is_sorted() -> None:
    names = taskmesh.testing.__all__
    assert list(names) == sorted(names) == dir(taskmesh.testing)
    assert all(getattr(taskmesh.testing, name).__doc__ for name in names)
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    assert [name for name in names if name not in page] == []
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = getattr(taskmesh.testing, "no_such_" + "name")


def test_two_meshes_see_nothing_of_each_other(mesh_factory: MeshFactory) -> None:
    one, other = mesh_factory(), mesh_factory()
    for mesh, said in ((one, "one"), (other, "other")):
        mesh.task(name="who")(lambda said=said: said)
    runs = [mesh.registry.require("who").send() for mesh in (one, other)]
    one.clock.advance(3600)

    assert [run.result() for run in runs] == ["one", "other"]
    assert other.clock.now() < one.clock.now()
    with pytest.raises(RunNotFoundError):
        other.run(runs[0].id).status()


def test_what_an_app_submits_goes_to_the_mesh_that_has_it(mesh_factory: MeshFactory) -> None:
    app = Mesh(store={"url": "redis://127.0.0.1:1"}, broker={"url": "amqp://127.0.0.1:1"})

    @app.task(name="inner")
    def inner(value: int) -> int:
        return value + 1

    @app.task(name="outer")
    def outer(value: int) -> int:
        return int(app.submit(inner, value=value).result()) + 1

    with mesh_factory(app) as mesh:
        assert outer.send(1).result() == 3
        assert app.settings is mesh.settings
        with app.local_worker():
            assert inner.send(1).result() == 2
        late = app.task(name="late")(lambda: "declared late")
        assert late.send().result() == "declared late"
        with pytest.raises(UsageError, match="watches no flow files"), app.local_worker(watch_flows=True):
            pass
        with pytest.raises(UsageError, match="in use by another virtual mesh"):
            mesh_factory(app)
        app.close()
        assert inner.send(5).result() == 6

    assert app.settings.store.url == "redis://127.0.0.1:1"
    with mesh_factory(app) as again:
        assert again.runs() == []


def test_two_apps_that_have_a_task_of_the_same_name(mesh_factory: MeshFactory) -> None:
    apps = Mesh(), Mesh()
    for app in apps:
        app.task(name="same")(lambda: None)

    with pytest.raises(UsageError, match="two tasks are named 'same'"):
        mesh_factory(*apps)


def test_a_closed_mesh_leaves_nothing(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    with contextlib.closing(VirtualServer(tmp_path)) as server:
        with VirtualMesh(server=server) as mesh:

            @mesh.task(name="step")
            async def step() -> None: ...

            step.send().result()
        with pytest.raises(UsageError, match="closed"):
            mesh.settle()
        with pytest.raises(UsageError, match="closed"):
            step.send()
        mesh.close()
        link = server.open_link()
        assert link.exchange([Command("", "DBSIZE")]) == [0]
        link.close()
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_pool_that_a_task_brings_later_is_served(mesh: VirtualMesh) -> None:
    @mesh.task
    def first() -> int:
        return 1

    assert first.send().result() == 1

    @mesh.task(pool="gpu")
    def second() -> int:
        return 2

    assert second.send().result() == 2
    assert first.send().result() == 1


def test_a_flow_for_a_pool_that_nobody_serves(mesh: VirtualMesh) -> None:
    mesh.task(name="step")(lambda: None)
    run = mesh.submit(load_flow("flow: odd\nnodes: {n: {task: step, pool: nobody}}", "odd.yaml"))

    with pytest.raises(StandstillError, match="no worker serves pool 'nobody'"):
        run.result()


def test_settings_of_workers_count_and_those_of_servers_do_not(mesh_factory: MeshFactory) -> None:
    worker = WorkerSection(cancel_grace_seconds=1, max_crashes=1)
    mesh = mesh_factory(settings=Settings(namespace="mine", worker=worker))
    mesh.task(name="step")(lambda: None)
    mesh.faults.executor_dies("step")

    assert mesh.registry.require("step").send().wait() == "failed"
    assert mesh.settings.worker.cancel_grace_seconds == 1
    assert mesh.settings.namespace != "mine"


def test_tasks_that_wait_for_each_other_need_threads(mesh_factory: MeshFactory) -> None:
    mesh, barrier = mesh_factory(threads=2), threading.Barrier(2)

    @mesh.task(name="meet")
    def meet() -> int:
        return barrier.wait(60) + 1

    @mesh.task(name="both")
    def both(parts: list[int]) -> int:
        return sum(parts)

    @mesh.flow
    def meeting() -> object:
        return both([meet(), meet().named("other")])

    assert mesh.submit(meeting).result() == 3
