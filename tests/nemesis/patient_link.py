"""A way to the store that outlives its faults: for those who look on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.link import Command, Conversation, Link, Reply

TRIES = 5
"""As many connections as lie in the pool at most: after a fault each of them may be dead."""


class PatientLink:
    """Asks again at once where a connection was dead; what is asked through it may happen twice."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def begin(self, commands: Sequence[Command]) -> Conversation:
        return self._link.begin(commands)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        for _ in range(TRIES - 1):
            try:
                return self._link.exchange(commands)
            except StoreUnavailableError as error:
                if "Connection" not in str(error):
                    raise
        return self._link.exchange(commands)

    def pubsub(self) -> Any:
        return self._link.pubsub()

    def close(self) -> None:
        self._link.close()
