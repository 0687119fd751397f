"""A file whose live settings are pushed again as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from taskmesh.app import push_watch
from taskmesh.app.push_watch import follow
from taskmesh.config.pushed import live_values
from taskmesh.config.sources import from_named_file
from taskmesh.errors import StoreUnavailableError

PATIENCE_SECONDS = 60


class Bench:
    """A file that is followed, and what comes of it: pushes, and sentences."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "live.toml"
        self.write("debug")
        self.told: asyncio.Queue[Mapping[str, Any] | str] = asyncio.Queue()
        self.is_away = False

    def write(self, level: str) -> None:
        # As an editor does it, which leaves no half of a file to be seen.
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f'[log]\nlevel = "{level}"\n')
        fresh.rename(self.file)

    def push(self, values: Mapping[str, Any]) -> None:
        if self.is_away:
            raise StoreUnavailableError("Redis does not answer")
        self.told.put_nowait(values)

    async def heard(self) -> Mapping[str, Any] | str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.told.get()

    async def play(self) -> None:
        self.write("error")
        assert await self.heard() == {"log.level": "error"}
        self.write("loud")
        wrong = f"nothing is pushed: log.level = 'loud' ({self.file}): must be one of debug, info, warning, error"
        assert await self.heard() == wrong
        self.is_away = True
        self.write("info")
        assert await self.heard() == "not pushed, and will be again: Redis does not answer"
        self.is_away = False
        while (told := await self.heard()) == "not pushed, and will be again: Redis does not answer":
            pass
        assert told == {"log.level": "info"}


def test_each_valid_change_is_pushed_once_and_what_is_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_watch, "SETTLED_SECONDS", 0.01)

    async def scenario() -> None:
        bench = Bench(tmp_path)
        pushed = {"log.level": "debug"}
        read = lambda: live_values(from_named_file(bench.file))  # noqa: E731
        following = asyncio.create_task(follow(bench.file, read, pushed, bench.push, bench.told.put_nowait))
        await bench.play()
        following.cancel()
        await asyncio.wait([following])
        assert bench.told.empty()

    asyncio.run(scenario())


def test_what_is_still_being_written_is_not_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_watch, "SETTLED_SECONDS", 0.01)
    found = chain(["half"], repeat("whole"))

    def read() -> Mapping[str, Any]:
        return {"log.level": next(found)}

    async def scenario() -> None:
        told: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        following = asyncio.create_task(follow(tmp_path / "live.toml", read, {}, told.put_nowait, pytest.fail))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await told.get() == {"log.level": "whole"}
        following.cancel()
        await asyncio.wait([following])

    asyncio.run(scenario())
