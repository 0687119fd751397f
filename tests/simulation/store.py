"""A Redis on virtual time: the real server runs the real scripts, and each way to it can fail in every way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from redis import exceptions
from redis.connection import ConnectionPool

from taskmesh.errors import StoreUnavailableError
from taskmesh.store.link import Command, Exchange, Reply
from tests.simulation.fate import Fate
from tests.simulation.loop import Actor, KilledError, SimLoop

EPOCH = 1_000_000.0
"""What the server's clock shows when the simulation's shows 0."""

SOCKET_TIMEOUT_SECONDS = 3.0
LATE_SECONDS = 6.0
"""How long after its caller gave up a call may still be carried out."""

_REFUSAL = exceptions.ResponseError("MISCONF Redis is configured to save snapshots, but cannot")


_UNORDERED = ("SMEMBERS", "SRANDMEMBER")
"""What a server answers in an order of its own, another one each time that it is started; as those of HSCAN."""


class Observer(Protocol):
    """Who is told of each command in the order in which the server carried them out."""

    def on_command(self, actor: str, command: Command, reply: Reply) -> None: ...


class SimServer:
    """The one server. Keys that would expire by its own clock do so by the simulation's."""

    def __init__(self, pool: ConnectionPool, loop: SimLoop, chance: Random, fate: Fate) -> None:
        self.loop = loop
        self.chance = chance
        self.fate = fate
        self.is_up = True
        self.observers: list[Observer] = []
        self._pool = pool
        self._expiries: dict[str, float] = {}

    def now(self) -> float:
        return round(EPOCH + self.loop.time(), 6)

    def carry_out(self, actor: str, commands: Sequence[Command]) -> list[Reply]:
        self._expire()
        if self.fate.strikes("scripts forgotten"):
            self.run(Command("", "SCRIPT", "FLUSH"))
        refused = {at for at in range(len(commands)) if self.fate.strikes("store refuses a call")}
        replies: list[Reply] = [_REFUSAL] * len(commands)
        missing = self._ask(actor, commands, replies, [at for at in range(len(commands)) if at not in refused])
        # As the product's link does it: these come after the others.
        self._ask(actor, commands, replies, missing, with_source=True)
        return replies

    def _ask(
        self,
        actor: str,
        commands: Sequence[Command],
        replies: list[Reply],
        places: Sequence[int],
        with_source: bool = False,
    ) -> list[int]:
        """Put the answers of some commands in their places; returns the places of scripts that are unknown."""
        timed = [self._on_virtual_time(commands[at]) for at in places]
        answers = self.run(*[command.with_source() if with_source else command for command in timed])
        missing = []
        for at, reply in zip(places, answers, strict=True):
            if isinstance(reply, exceptions.NoScriptError):
                missing.append(at)
                continue
            replies[at] = self._answer(commands[at], reply)
            for observer in self.observers:
                observer.on_command(actor, commands[at], replies[at])
        return missing

    def run(self, *commands: Command) -> list[Reply]:
        """What the simulation itself wants to know or do: nothing befalls it."""
        return Exchange(self._pool, commands).collect() if commands else []

    def delete(self, key: str) -> None:
        self.run(Command(key, "DEL", key))
        self._expiries.pop(key, None)

    def _expire(self) -> None:
        for key in [key for key, at in self._expiries.items() if at <= self.loop.time()]:
            self.delete(key)

    def _on_virtual_time(self, command: Command) -> Command:
        name, *arguments = command.arguments
        if name == "EVALSHA":
            return self._script_on_virtual_time(command)
        if name == "PEXPIRE":
            return Command(command.key, "EXISTS", arguments[0])
        if name == "SET" and "PX" in arguments:
            return Command(command.key, "SET", *arguments[:2])
        return command

    def _script_on_virtual_time(self, command: Command) -> Command:
        first = 3 + int(command.arguments[2])
        if command.arguments[first : first + 1] != ("",):
            return command
        arguments = (*command.arguments[:first], repr(self.now()), *command.arguments[first + 1 :])
        timed = Command(command.key, *arguments)
        timed.script = command.script
        return timed

    def _answer(self, command: Command, reply: Reply) -> Reply:
        name = command.arguments[0]
        if name == "TIME":
            seconds, rest = divmod(self.now(), 1.0)
            return [int(seconds), round(rest * 1_000_000)]
        if name in _UNORDERED and isinstance(reply, list):
            return sorted(reply)
        if name == "HSCAN" and isinstance(reply, list):
            return [reply[0], _in_order(reply[1])]
        if reply and (name == "PEXPIRE" or "PX" in command.arguments[-2:]):
            self._expiries[command.key] = self.loop.time() + int(command.arguments[-1]) / 1000
        return reply


def _in_order(flat: list[bytes]) -> list[bytes]:
    """Names and values by turns, in the order of the names."""
    pairs = sorted(zip(flat[::2], flat[1::2], strict=True))
    return [part for pair in pairs for part in pair]


class SimLink:
    """One process's way to the server."""

    def __init__(self, server: SimServer, actor: Actor, die: Callable[[], None], cut_off: Callable[[], None]) -> None:
        self.server = server
        self.actor = actor
        self.cut_off = cut_off
        self._die = die

    @property
    def is_open(self) -> bool:
        """Whether the server can be reached from here."""
        return self.server.is_up and self.actor.alone_until <= self.server.loop.time()

    def begin(self, commands: Sequence[Command]) -> _Conversation:
        return _Conversation(self, commands)

    def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        return self.begin(commands).collect()

    def pubsub(self) -> Any:
        raise NotImplementedError("nobody here listens to announcements")

    def close(self) -> None: ...

    def die_by(self, fault: str) -> None:
        """:raises KilledError: the process has died just here."""
        self.actor.check_alive()
        if self.server.fate.strikes(fault):
            self._die()
            raise KilledError(self.actor.name)

    def break_off(self, sentence: str) -> StoreUnavailableError:
        """The error of a connection that broke; often its caller finds out when its patience ends."""
        server = self.server
        if server.chance.random() < 0.5:
            stall(server.loop, self.actor, server.chance.uniform(0, SOCKET_TIMEOUT_SECONDS))
        return StoreUnavailableError(f"simulated: {sentence}")


class _Conversation:
    """One batch. The server may carry it out at any moment between asking and collecting."""

    def __init__(self, link: SimLink, commands: Sequence[Command]) -> None:
        self._link = link
        self._server = link.server
        self._commands = commands
        self._replies: list[Reply] | None = None
        self._is_done = False
        link.die_by("dies before a call")
        if not link.is_open:
            raise link.break_off("the server is away")
        if self._server.fate.strikes("request lost"):
            self._perhaps_later()
            raise link.break_off("the request was lost")
        if self._server.chance.random() < 0.5:
            self._replies = self._carry_out()

    def collect(self) -> list[Reply]:
        assert not self._is_done, "the replies are another conversation's by now"
        self._link.actor.check_alive()
        self._is_done = True
        if not self._link.is_open:
            raise self._link.break_off("the server went away")
        replies = self._carry_out() if self._replies is None else self._replies
        self._link.die_by("dies after a call")
        if self._server.fate.strikes("cut off amid a call"):
            self._link.cut_off()
            raise self._link.break_off("the network went away amid a call")
        if self._server.fate.strikes("reply lost"):
            raise self._link.break_off("the reply was lost")
        stall(self._server.loop, self._link.actor, self._server.fate.seconds("store answers late", 0.01, 2.0))
        return replies

    def discard(self) -> None:
        if not self._is_done and self._replies is None:
            self._perhaps_later()
        self._is_done = True

    def _carry_out(self) -> list[Reply]:
        commands, name = self._commands, self._link.actor.name
        if len(commands) > 1 and self._server.fate.strikes("half a batch"):
            self._server.carry_out(name, commands[: self._server.chance.randrange(1, len(commands))])
            self._is_done = True
            raise self._link.break_off("the connection broke amid a batch")
        return self._server.carry_out(name, commands)

    def _perhaps_later(self) -> None:
        if self._server.fate.strikes("call arrives after its caller gave up"):
            delay_seconds = self._server.chance.uniform(0, LATE_SECONDS)
            self._server.loop.outside(delay_seconds, self._server.carry_out, self._link.actor.name, self._commands)


def stall(loop: SimLoop, actor: Actor, seconds: float) -> None:
    """Let an actor do nothing for a while, as if it waited for a socket; what it called aside just takes longer."""
    if actor.is_aside:
        actor.aside_seconds += seconds
    elif seconds > 0:
        actor.hold()
        loop.outside(seconds, actor.let_go)
