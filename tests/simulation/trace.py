"""What happened, in its order: to be read when a seed fails, and to be compared when it is played again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from taskmesh.errors import WireError
from taskmesh.store.link import Command, Reply
from taskmesh.wire.messages import NodeMessage, decode_message
from tests.simulation.broker import Message

_QUIET = {"TIME", "SMEMBERS", "HGETALL", "ZRANGEBYSCORE", "HMGET", "HGET", "INFO", "SRANDMEMBER"}


class Trace:
    """Lines of text with their times."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self.lines: list[str] = []

    def note(self, *what: object) -> None:
        self.lines.append(f"{self._time():.6f} {' '.join(map(str, what))}")

    @property
    def hash(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def on_command(self, actor: str, command: Command, reply: Reply) -> None:
        name, *arguments = command.arguments
        if command.script is not None:
            first = 1 + int(arguments[1])
            self.note(
                actor, command.script.name, command.key, *map(_short, arguments[first + 2 :]), "->", _answer(reply)
            )
        elif name not in _QUIET:
            self.note(actor, name, *map(_short, arguments), "->", _answer(reply))

    def on_kept(self, message: Message) -> None:
        self.note("broker keeps", message.number, _about(message))

    def on_acked(self, message: Message, holder: str) -> None:
        self.note(holder, "acked", message.number, _about(message))


def _about(message: Message) -> str:
    try:
        content = decode_message(message.body)
    except WireError:
        return "unreadable"
    if isinstance(content, NodeMessage):
        return f"{content.run_id}/{content.node} token {content.token}"
    return f"probe {content.queue}"


def _short(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _answer(reply: Reply) -> str:
    if isinstance(reply, list):
        return " ".join(each.decode(errors="replace") if _is_word(each) else _short(each) for each in reply)
    return str(reply)


def _is_word(value: object) -> bool:
    return isinstance(value, bytes) and len(value) < 24 and value.isalpha()
