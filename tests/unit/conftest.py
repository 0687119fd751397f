"""An engine as tests of a worker's I/O process play with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from tests.unit.engine_bench import EngineBench

Test: TypeAlias = Callable[[EngineBench], Awaitable[None]]
Play: TypeAlias = Callable[[Test], None]


@pytest.fixture
def play(valkey_url: str, namespace: str) -> Play:
    """Runs a test on a loop, with a bench of its own."""
    return lambda test: asyncio.run(_play(test, valkey_url, namespace, runs_at_once=True))


@pytest.fixture
def play_by_hand(valkey_url: str, namespace: str) -> Play:
    """The same, where nothing that the pool is given ends before the test says so."""
    return lambda test: asyncio.run(_play(test, valkey_url, namespace, runs_at_once=False))


async def _play(test: Test, valkey_url: str, namespace: str, runs_at_once: bool) -> None:
    bench = EngineBench(valkey_url, namespace)
    bench.pool.runs_at_once = runs_at_once
    try:
        await test(bench)
    finally:
        bench.close()
