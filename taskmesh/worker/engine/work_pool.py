"""What the engine needs of a pool that runs user code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from taskmesh.worker.channels.protocol import Work


class WorkPool(Protocol):
    """Runs works and reports each exactly once, through callbacks on the engine's loop."""

    @property
    def tasks(self) -> Collection[str]:
        """The names that can be run; empty until the pool is ready."""

    @property
    def capacity(self) -> int:
        """How many more works the pool wants now."""

    @property
    def window(self) -> int:
        """How many works the pool wants to have in flight."""

    @property
    def ready_count(self) -> int:
        """Executors that can run works."""

    @property
    def deaths(self) -> int:
        """Executors that have ended without being asked to."""

    def submit(self, works: Sequence[Work]) -> None: ...

    def kill(self, work_id: int) -> bool:
        """Take a work away from what runs it, by force; False when nothing does. Its loss is reported."""

    @property
    def oldest_waiting(self) -> int | None:
        """The id of the work that has waited longest for room, where one waits."""

    def give_back(self) -> None:
        """Report what waits for room as lost before it began."""

    def wind_down(self) -> None:
        """From now on, start nothing more: what waits, or is submitted, is reported as lost before it began."""

    def cancel(self, work_id: int) -> None:
        """Let a work know, with its next heartbeat, that it should end."""

    async def drain(self, timeout_seconds: float) -> bool: ...

    async def stop(self, grace_seconds: float = ...) -> None: ...
