"""The way to the store on virtual time: a real server runs the real scripts, and is told what time it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.link import Command, Conversation, Link, Reply
from taskmesh.testing.loop import VirtualLoop


class VirtualLink:
    """A link whose server has the time of the loop. Keys that expire by themselves do so by the real time."""

    def __init__(self, link: Link, loop: VirtualLoop) -> None:
        self._link = link
        self._loop = loop
        self.away_until = 0.0
        """Until then, in virtual time, the server does not answer."""

    @property
    def real(self) -> Link:
        """The way of the test itself, which no outage closes."""
        return self._link

    @property
    def is_away(self) -> bool:
        return self._loop.time() < self.away_until

    def begin(self, commands: Sequence[Command]) -> Conversation:
        if self.is_away:
            raise StoreUnavailableError("Redis does not answer (the test has taken it away for a while)")
        return _Timed(self._link.begin([self._timed(each) for each in commands]), commands, self._loop)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self.begin(commands).collect()

    def pubsub(self) -> Any:
        return self._link.pubsub()

    def close(self) -> None:
        self._link.close()

    def _timed(self, command: Command) -> Command:
        """The same call of a script, which asks for no time any more."""
        if command.script is None:
            return command
        first = 3 + int(command.arguments[2])
        if command.arguments[first : first + 1] != ("",):
            return command
        moment = f"{self._loop.tick():.6f}"
        timed = Command(command.key, *command.arguments[:first], moment, *command.arguments[first + 1 :])
        timed.script = command.script
        return timed


class _Timed:
    """A conversation in which ``TIME`` tells the virtual time."""

    def __init__(self, conversation: Conversation, commands: Sequence[Command], loop: VirtualLoop) -> None:
        self._conversation = conversation
        self._commands = commands
        self._loop = loop

    def collect(self) -> list[Reply]:
        replies = self._conversation.collect()
        pairs = zip(self._commands, replies, strict=True)
        return [self._time() if each.arguments[0] == "TIME" else reply for each, reply in pairs]

    def discard(self) -> None:
        self._conversation.discard()

    def _time(self) -> Reply:
        seconds, rest = divmod(self._loop.time(), 1.0)
        return [int(seconds), round(rest * 1_000_000)]
