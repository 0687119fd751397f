"""A keeper that has taken up ticks gives signs of life until they are done: so others know at once when it is gone.

What one keeper has recorded another begins soon when it hears nothing of the first. While it does, it leaves that
alone: a keeper that is only slow needs nobody to do the same once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.aside import aside
from taskmesh.store.schedules.life_signs import LifeSigns

SIGN_SECONDS = 0.01
"""Often enough that a busy machine rarely makes a living keeper quiet; only while ticks are under way."""

LEFT_SECONDS = 1.0
"""Longer than this nothing is left to anybody: no tick that is recorded, and none that waits for the end of a run."""

QUIET_SECONDS = 0.06
"""A keeper whose last sign is older is taken for dead; all that can be wrong about that is that work is done twice."""


class OwnSigns:
    """Gives signs of this process from ``begin`` to ``end``, but no longer than anybody heeds them."""

    def __init__(self, signs: LifeSigns, holder: str, now_seconds: Callable[[], float]) -> None:
        """``now_seconds`` tells the time of the store."""
        self._signs = signs
        self._holder = holder
        self._now_seconds = now_seconds
        self._task: asyncio.Task[None] | None = None
        self._given = asyncio.Event()
        self._until = -math.inf

    @property
    def are_given(self) -> bool:
        return self._task is not None

    async def begin(self) -> None:
        """Returns when the first is there, or cannot be given; to be called with whatever is taken up."""
        self._until = self._now_seconds() + LEFT_SECONDS
        if self._task is None:
            self._given.clear()
            self._task = asyncio.get_running_loop().create_task(self._go_on())
        await self._given.wait()

    async def end(self) -> None:
        """All is done."""
        self.stop()
        await aside(self._signs.end, self._holder)

    def stop(self) -> None:
        """Give no more; others soon do what is not done."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._given.set()

    async def _go_on(self) -> None:
        try:
            while self._now_seconds() < self._until:
                await aside(self._give)
                self._given.set()
                await asyncio.sleep(SIGN_SECONDS)
            self._task = None
        finally:
            # Whatever happened, nobody waits for a sign for ever.
            self._given.set()

    def _give(self) -> None:
        # Without one, others may do the same once more; nothing else depends on it.
        with contextlib.suppress(StoreUnavailableError):
            self._signs.give(self._holder, self._now_seconds())
