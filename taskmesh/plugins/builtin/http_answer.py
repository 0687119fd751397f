"""What a host answered, and what a node makes of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any, NoReturn

from taskmesh.errors import NodeFailedError, NodeUnavailableError
from taskmesh.model.values import Value
from taskmesh.plugins.builtin.http_rules import Target

_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""A status that says: not now."""

_LEFT_OUT = frozenset({"set-cookie", "set-cookie2"})
"""Nothing keeps cookies here, and an output is stored."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, complete. ``headers`` have names in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def location(self) -> str:
        return self.header("location")


def refuse_status(answer: Answer, target: Target, expected: Sequence[int] | None, redirects: Collection[int]) -> None:
    """:raises NodeFailedError: the status is none of those that are expected."""
    if answer.status in expected if expected else 200 <= answer.status < 300:
        return
    hint = "; set follow_redirects, or expect it" if answer.status in redirects else ""
    kind = NodeUnavailableError if answer.status in _LATER else NodeFailedError
    raise kind(f"{target.origin} answered with status {answer.status}{hint}")


def output_of(answer: Answer, target: Target) -> Value:
    """The output of the node. The body is what JSON says where the answer calls itself JSON, else text or bytes."""
    headers = {name: answer.header(name) for name, _ in answer.headers if name not in _LEFT_OUT}
    return {
        "status": answer.status,
        "headers": headers,
        "body": _body(answer, target),
        "url": target.origin + target.path,
    }


def _body(answer: Answer, target: Target) -> Any:
    described = Message()
    described["content-type"] = answer.header("content-type")
    kind = described.get_content_type()
    if answer.body and (kind == "application/json" or kind.endswith("+json")):
        return _parsed(answer.body, target)
    if answer.header("content-encoding") not in ("", "identity"):
        return answer.body
    try:
        return answer.body.decode(described.get_content_charset("utf-8"))
    except (LookupError, ValueError):
        return answer.body


def _parsed(body: bytes, target: Target) -> Any:
    try:
        return json.loads(body, parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise NodeFailedError(f"{target.origin} answered with a body that calls itself JSON and is none") from None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
