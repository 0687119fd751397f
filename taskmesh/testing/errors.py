"""What goes wrong in a test, beside what goes wrong in a mesh.

TaskmeshError
├── StandstillError   nothing will ever happen any more, and somebody waits
└── PatienceError     a test has waited too long, by the clock on the wall
"""

from __future__ import annotations

from taskmesh.errors import TaskmeshError


class StandstillError(TaskmeshError):
    """Somebody waits, and nothing will ever happen any more: no task runs, no message is there, no timer is set."""

    def __init__(self, waits: str) -> None:
        super().__init__(f"nothing will happen any more, however far the time moves on\n{waits}".rstrip())


class PatienceError(TaskmeshError):
    """A test has waited too long by the clock on the wall, which goes on while the mesh's own stands still."""
