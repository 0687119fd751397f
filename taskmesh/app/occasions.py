"""When to look at files: at once when something changes beside them, and every so often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from watchfiles import awatch

LOOK_SECONDS = 2.0
"""Files are also looked at this often: not every file system tells of changes, and a store may have been away."""

QUIET_MS = 50

_log = logging.getLogger(__name__)


async def occasions(paths: Iterable[Path]) -> AsyncIterator[None]:
    """Now, whenever files, or what is in directories, may have changed, and every LOOK_SECONDS."""
    # Editors put a new file in the place of the old one, so it is the directories that are watched.
    places = {path if path.is_dir() else path.parent for path in paths}
    yield
    while True:
        try:
            async for _ in _changes(places):
                yield
        except OSError as error:
            _log.debug("changes of files are not told: %s", error)
        await asyncio.sleep(LOOK_SECONDS)
        yield


def _changes(places: Iterable[Path]) -> AsyncIterator[object]:
    return awatch(
        *places,
        watch_filter=None,
        step=QUIET_MS,
        rust_timeout=int(LOOK_SECONDS * 1000),
        yield_on_timeout=True,
        recursive=False,
    )
