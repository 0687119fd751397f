"""Plays one seed: chaos, then calm; and checks what was promised, from what is stored and from what has happened."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from redis.connection import ConnectionPool

from taskmesh.errors import TaskmeshError
from taskmesh.store.link import Command, Exchange
from tests.simulation.checks import Checks
from tests.simulation.history import BrokenPromiseError
from tests.simulation.loop import KilledError
from tests.simulation.world import World

HEAL_SECONDS = 90.0
"""Within which everything must come to its end after the last fault, beside the time that user code takes."""

SLICE = 3
"""How many dependents one script tells here, and outputs one claim brings, so that small graphs take several."""


@dataclass(frozen=True)
class Played:
    """What became of one seed."""

    seed: int
    hash: str
    lines: list[str]
    figures: dict[str, float]
    struck: dict[str, int]
    broken: str = ""


def play(seed: int, pool: ConnectionPool, only: Collection[str] | None = None) -> Played:
    """Play one seed on a private server, which is emptied first; ``only`` names the faults, where not all may be."""
    Exchange(pool, [Command("", "FLUSHALL"), Command("", "SCRIPT", "FLUSH")]).collect()
    with _as_in_a_dream(seed):
        world = World(seed, pool, only)
        broken = ""
        with _listening(world) as found:
            try:
                world.loop.run_until_complete(_live(world, found))
            except BrokenPromiseError as error:
                broken = str(error)
            finally:
                world.loop.close()
        return Played(seed, world.trace.hash, world.trace.lines, _figures(world), dict(world.fate.struck), broken)


async def _live(world: World, found: list[BaseException]) -> None:
    world.loop.set_exception_handler(lambda _, context: _note(found, context.get("exception")))
    playing = world.loop.create_task(world.play())
    checks = Checks(world)
    while not playing.done():
        await asyncio.sleep(1.0)
        _raise(found)
        checks.check_stored()
    playing.result()
    healed_at = world.loop.time()
    while not checks.is_quiet():
        if world.loop.time() - healed_at >= HEAL_SECONDS + 2 * world.work_seconds:
            raise BrokenPromiseError(checks.stuck())
        await asyncio.sleep(1.0)
        _raise(found)
    world.healed_seconds = world.loop.time() - healed_at
    checks.check_end()


def _note(found: list[BaseException], error: BaseException | None) -> None:
    if error is not None and not isinstance(error, KilledError):
        found.append(error)


def _raise(found: list[BaseException]) -> None:
    for error in found:
        if isinstance(error, BrokenPromiseError):
            raise error
        raise BrokenPromiseError(f"an error that nobody expected: {error!r}") from error


@contextmanager
def _as_in_a_dream(seed: int) -> Iterator[None]:
    """What is the same at every play of a seed, and small enough to be met."""
    state = random.getstate()
    random.seed(seed)
    try:
        with (
            mock.patch("taskmesh.dispatch.plan.EDGES_PER_SCRIPT", SLICE),
            mock.patch("taskmesh.worker.engine.intake.FIELDS_PER_CLAIM", SLICE),
            # It looks at a server's configuration and at what its user may do, with very many commands.
            mock.patch("taskmesh.app.steps.refuse_unsafe"),
        ):
            yield
    finally:
        random.setstate(state)


@contextmanager
def _listening(world: World) -> Iterator[list[BaseException]]:
    """Collects errors that the product only logs; those that it knows are part of the play."""
    found: list[BaseException] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.trace.note("logged", record.levelname, record.getMessage())
            if record.exc_info and not isinstance(record.exc_info[1], TaskmeshError):
                _note(found, record.exc_info[1])

    logger, ear = logging.getLogger("taskmesh"), Ear()
    was = logger.propagate, logger.level
    logger.addHandler(ear)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield found
    finally:
        logger.removeHandler(ear)
        logger.propagate, level = was
        logger.setLevel(level)


def _figures(world: World) -> dict[str, float]:
    times: Any = world.executions.times
    return {
        "runs": len(world.history.accepted),
        "commits": world.history.commits,
        "executions": times.total(),
        "repeated": times.total() - len(times),
        "stale": world.history.stale,
        "healed_seconds": round(world.healed_seconds, 1),
        "seconds": round(world.loop.time(), 1),
    }
