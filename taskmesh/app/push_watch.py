"""``taskmesh config push --watch``: pushes the live settings of a file again as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from taskmesh.app.occasions import occasions
from taskmesh.errors import ConfigError, UnavailableError

Values: TypeAlias = "Mapping[str, Any]"

SETTLED_SECONDS = 0.2
"""What was read counts when it is the same so long after: a file may be half written."""


async def follow(
    file: Path, read: Callable[[], Values], pushed: Values, push: Callable[[Values], None], say: Callable[[str], None]
) -> None:
    """Push what ``read`` gives whenever it differs from what was pushed last; goes on until it is cancelled.

    ``say`` hears of what is wrong with the file, which changes nothing, and of a store that is away.
    """
    acted_on: Values | str = pushed
    async for _ in occasions([file]):
        found = _outcome(read)
        if found == acted_on:
            continue
        await asyncio.sleep(SETTLED_SECONDS)
        if _outcome(read) == found and _act(found, push, say):
            acted_on = found


def _outcome(read: Callable[[], Values]) -> Values | str:
    try:
        return read()
    except ConfigError as error:
        return str(error)


def _act(found: Values | str, push: Callable[[Values], None], say: Callable[[str], None]) -> bool:
    """Whether nothing is left to be done about what was found."""
    if isinstance(found, str):
        say(f"nothing is pushed: {found}")
        return True
    try:
        push(found)
    except UnavailableError as error:
        say(f"not pushed, and will be again: {error}")
        return False
    return True
