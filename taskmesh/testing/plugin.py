"""The pytest plugin: fixtures, and the option that names the apps under test. Loads nothing until one is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Unpack

import pytest

if TYPE_CHECKING:
    from taskmesh.app.mesh import Mesh
    from taskmesh.testing.clock import VirtualClock
    from taskmesh.testing.mesh import MeshFactory, MeshOptions, VirtualMesh
    from taskmesh.testing.server import VirtualServer

APPS = "taskmesh_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(APPS, "the apps that the fixture mesh has, as MODULE or MODULE:NAME", type="args", default=[])


@pytest.fixture(scope="session")
def taskmesh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualServer]:
    """The store that all virtual meshes of this process share."""
    from taskmesh.testing.server import VirtualServer

    with contextlib.closing(VirtualServer(tmp_path_factory.mktemp("taskmesh"))) as server:
        yield server


@pytest.fixture
def mesh_factory(taskmesh_server: VirtualServer) -> Iterator[MeshFactory]:
    """Makes virtual meshes, as ``mesh_factory(shop.mesh, start=...)``; they are closed after the test."""
    from taskmesh.testing.mesh import VirtualMesh

    with contextlib.ExitStack() as stack:

        def make(*apps: Mesh, **options: Unpack[MeshOptions]) -> VirtualMesh:
            return stack.enter_context(VirtualMesh(*apps, server=taskmesh_server, **options))

        yield make


@pytest.fixture
def mesh(mesh_factory: MeshFactory, pytestconfig: pytest.Config) -> VirtualMesh:
    """A virtual mesh with the tasks of the apps that the option ``taskmesh_app`` names; or with none, for its own."""
    from taskmesh.app.locate import find_mesh

    return mesh_factory(*(find_mesh(app) for app in pytestconfig.getini(APPS)))


@pytest.fixture
def mesh_clock(mesh: VirtualMesh) -> VirtualClock:
    """The clock of ``mesh``."""
    return mesh.clock
