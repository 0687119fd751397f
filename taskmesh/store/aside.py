"""Questions to the store that nothing on the loop may wait for: leases, the keeper's looks, probes, readiness.

Each blocks a thread while it is on its way, and the loop goes on; so a long way to the store holds up no claims and
no ends. Only the call itself is made there: whatever is done with its answer is done on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def aside(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Make a blocking call beside the loop.

    Whoever is cancelled meanwhile still waits for its end: what is said to the store afterwards must not be overtaken
    by it.
    """
    return await aside_in(None, partial(call, *args, **kwargs))


async def aside_in(threads: Executor | None, call: Callable[[], T]) -> T:
    """The same in threads of its own, for what may wait for others than the store: nothing else waits behind it."""
    called = asyncio.get_running_loop().run_in_executor(threads, call)
    try:
        return await asyncio.shield(called)
    except asyncio.CancelledError:
        await asyncio.wait([called])
        raise
