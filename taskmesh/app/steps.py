"""What every session does again and again: enter a store that may be away, trust it, and take a step every so often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from taskmesh.app.assembly import Foundation
from taskmesh.clock import Clock
from taskmesh.errors import StoreRefusedError, StoreUnavailableError, TaskmeshError
from taskmesh.resilience.backoff import full_jitter
from taskmesh.store.inspection import refuse_unsafe

START_BASE_SECONDS = 0.2
START_CAP_SECONDS = 5.0

REST_FACTOR = 2

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
        except StoreUnavailableError as error:
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


async def repeat(seconds: float, step: Callable[[], None], clock: Clock, rest_factor: float = REST_FACTOR) -> None:
    """Take a step every so often, until cancelled; no failure ends it.

    A step that takes long, since the way to the store is, is followed by a rest ``rest_factor`` times as long:
    nothing else is done on the loop meanwhile.
    """
    while True:
        begun = clock.monotonic()
        try:
            step()
        except TaskmeshError as error:
            _log.warning("%s", error)
        except Exception:
            # A loop that keeps promises must outlive any single failure.
            _log.exception("a periodic step failed")
        await asyncio.sleep(max(seconds, rest_factor * (clock.monotonic() - begun)))
