"""What every session does again and again: enter a store that may be away, trust it, and take a step every so often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from taskmesh.app.assembly import Foundation
from taskmesh.errors import StoreRefusedError, TaskmeshError, UnavailableError
from taskmesh.resilience.backoff import full_jitter
from taskmesh.store.inspection import refuse_unsafe

START_BASE_SECONDS = 0.2
START_CAP_SECONDS = 5.0

Step: TypeAlias = Callable[[], Awaitable[None] | None]

_log = logging.getLogger(__name__)


async def enter_store(enter: Callable[[], None], on_missing: Callable[[str], None]) -> None:
    """Call ``enter`` until the store answers: servers and workers are often started together.

    ``on_missing`` hears why it does not, and an empty string in the end.

    :raises StoreRefusedError: the store refuses, or may not be trusted with runs.
    """
    delay = full_jitter(START_BASE_SECONDS, START_CAP_SECONDS)
    failures = 0
    while True:
        try:
            enter()
        except StoreRefusedError:
            raise
        except UnavailableError as error:
            failures += 1
            on_missing(str(error))
            _log.warning("%s; trying again", error)
            await asyncio.sleep(delay(failures))
        else:
            on_missing("")
            return


def refuse_unsafe_store(foundation: Foundation) -> None:
    """Check what the promises rest on.

    :raises StoreRefusedError: the store would break one.
    """
    durability = foundation.settings.store.durability
    refuse_unsafe(foundation.link, foundation.keys, durability, foundation.embedded is not None)


async def repeat(seconds: float, step: Step) -> None:
    """Take a step, and again so long after its end, until cancelled; no failure ends it."""
    while True:
        try:
            waits = step()
            if waits is not None:
                await waits
        except TaskmeshError as error:
            _log.warning("%s", error)
        except Exception:
            # A loop that keeps promises must outlive any single failure.
            _log.exception("a periodic step failed")
        await asyncio.sleep(seconds)


async def end_all(steps: Sequence[asyncio.Task[None]]) -> None:
    """End what is repeated; returns when nothing of it is on its way to the store any more."""
    for step in steps:
        step.cancel()
    await asyncio.gather(*steps, return_exceptions=True)
