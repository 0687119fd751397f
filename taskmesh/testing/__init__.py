"""Tests of flows without servers and without waiting: a whole mesh in the test's process, on a time of its own.

Everything public of it is here; see docs/testing.md. With pytest the fixtures ``mesh``, ``mesh_clock`` and
``mesh_factory`` are there already. Names are loaded when they are first used: pytest itself loads this package at its
start, in every project in whose environment taskmesh is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmesh.testing.asserts import assert_attempts, assert_compensated, assert_order, assert_states
    from taskmesh.testing.calls import Call, Stub
    from taskmesh.testing.clock import VirtualClock
    from taskmesh.testing.errors import PatienceError, StandstillError
    from taskmesh.testing.faults import Faults
    from taskmesh.testing.mesh import MeshFactory, VirtualMesh
    from taskmesh.testing.server import VirtualServer
    from taskmesh.testing.telling import picture_of

_HOMES = {
    "Call": "calls",
    "Faults": "faults",
    "MeshFactory": "mesh",
    "PatienceError": "errors",
    "StandstillError": "errors",
    "Stub": "calls",
    "VirtualClock": "clock",
    "VirtualMesh": "mesh",
    "VirtualServer": "server",
    "assert_attempts": "asserts",
    "assert_compensated": "asserts",
    "assert_order": "asserts",
    "assert_states": "asserts",
    "picture_of": "telling",
}

__all__ = [
    "Call",
    "Faults",
    "MeshFactory",
    "PatienceError",
    "StandstillError",
    "Stub",
    "VirtualClock",
    "VirtualMesh",
    "VirtualServer",
    "assert_attempts",
    "assert_compensated",
    "assert_order",
    "assert_states",
    "picture_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'taskmesh.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"taskmesh.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
