"""A process that leaves without a drain: messages must not go to and fro until they are dead letters."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

from taskmesh.app.session import Session


def test_no_message_comes_any_more_before_messages_are_given_back() -> None:
    said = mock.MagicMock()
    said.engine.in_flight = said.engine.unsettled = 1
    for each in (said.pool.stop, said.consumer.close, said.publisher.close):
        each.side_effect = _nothing
    asyncio.run(_session(said).close())
    names = [call[0] for call in said.mock_calls if call[0] in ORDER]
    assert names == list(ORDER)


ORDER = ("consumer.pause", "engine.stop_taking", "pool.stop", "consumer.close")


def _session(said: mock.MagicMock) -> Session:
    session = object.__new__(Session)
    fields = {"engine": said.engine, "pool": said.pool, "consumer": said.consumer, "publisher": said.publisher}
    for name, value in {**fields, "tasks": [], "keeper": None}.items():
        setattr(session, f"_{name}", value)
    return session


async def _nothing(*_: Any) -> None:
    """As what ends at once."""
