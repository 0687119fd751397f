"""An engine as tests of a worker's I/O process play with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.engine_bench import EngineBench


@pytest.fixture
def play(valkey_url: str, namespace: str) -> Callable[[Callable[[EngineBench], Awaitable[None]]], None]:
    """Runs a test on a loop, with a bench of its own."""

    async def with_bench(test: Callable[[EngineBench], Awaitable[None]]) -> None:
        bench = EngineBench(valkey_url, namespace)
        try:
            await test(bench)
        finally:
            bench.close()

    return lambda test: asyncio.run(with_bench(test))
