"""How values look on the terminal, and as JSON."""

from __future__ import annotations

import base64
import datetime
import json
import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskmesh.model.durations import duration_text as duration_text
from taskmesh.model.states import NodeState, RunState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from taskmesh.client.counting import Counted
    from taskmesh.client.details import NodeDetails, RunDetails, RunEvent
    from taskmesh.client.heard import SignalDetails
    from taskmesh.store.family import Origin
    from taskmesh.store.records import RunSummary

NODE_LOOKS: Mapping[NodeState, tuple[str, str]] = {
    NodeState.WAITING: ("·", "dim"),
    NodeState.READY: ("○", "yellow"),
    NodeState.RUNNING: ("●", "bold cyan"),
    NodeState.RETRYING: ("↻", "yellow"),
    NodeState.SUCCEEDED: ("✔", "green"),
    NodeState.FAILED: ("✘", "bold red"),
    NodeState.UPSTREAM_FAILED: ("⊗", "red"),
    NodeState.SKIPPED: ("↷", "magenta"),
    NodeState.CANCELLED: ("⊘", "magenta"),
}
"""Glyph and style of a node in each state."""

RUN_STYLES: Mapping[RunState, str] = {
    RunState.RUNNING: "bold cyan",
    RunState.COMPENSATING: "bold yellow",
    RunState.SUCCEEDED: "bold green",
    RunState.FAILED: "bold red",
    RunState.PAUSED: "bold yellow",
    RunState.CANCELLED: "bold magenta",
    RunState.COMPENSATED: "bold magenta",
    RunState.COMPENSATION_FAILED: "bold red",
    RunState.TERMINATED: "bold magenta",
}


WIDTH_OF_FILES = 10_000
"""Where no terminal sets the width, nothing is wrapped or cut."""


def console() -> Console:
    """Standard output. Colours only on a terminal, and never where NO_COLOR is set."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    return Console(highlight=False, emoji=False, markup=False, width=width)


def plain_table(identity: str, *columns: str) -> Table:
    """A table without lines around its cells. The first column is never wrapped, so that ids can be copied."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(identity, no_wrap=True)
    for column in columns:
        table.add_column(column)
    return table


def cell(text: str, style: str = "") -> Text:
    """A cell that is wrapped rather than cut."""
    from rich.text import Text

    return Text(text, style, overflow="fold")


def print_json(value: Any, indent: int | None = 2) -> None:
    """One JSON document; without ``indent``, on one line. Sent off at once, as a program may be waiting."""
    sys.stdout.write(json_text(value, indent) + "\n")
    sys.stdout.flush()


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON of plain data; what JSON has no form for becomes text, and bytes ``{"$bytes": Base64}``."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=_as_json)
    except (TypeError, ValueError):
        return json.dumps(_plain(value), indent=indent, ensure_ascii=False, default=_as_json)


def _plain(value: Any) -> Any:
    """The value without what outputs may hold and JSON may not: keys that are no text, NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return str(value)


def run_document(details: RunDetails) -> dict[str, Any]:
    """A run as ``show -o json`` prints it; times in epoch seconds."""
    return {
        "run_id": details.run_id,
        "flow": details.flow,
        "version": details.version,
        **({"registered": f"{details.flow}@{details.registered}"} if details.registered else {}),
        "status": str(details.status),
        **({"cause": details.cause} if details.compensates else {}),
        "submitted_at": details.submitted_at,
        "started_at": details.started_at,
        "finished_at": details.finished_at,
        **decisions(details),
        **({"forked_from": _origin(details.forked_from)} if details.forked_from else {}),
        **parent_of(details),
        **({"context": details.context.said()} if details.context else {}),
        "nodes": {node.name: node_document(node) for node in details.nodes},
        **({"dead_letters": list(details.dead_letters)} if details.dead_letters else {}),
    }


def decisions(of: RunDetails | RunSummary) -> dict[str, Any]:
    """What people decided over a run, where they did."""
    decided = {"paused": of.paused, "halted_by": of.halted_by}
    return {name: each._asdict() for name, each in decided.items() if each is not None}


def parent_of(of: RunDetails | RunSummary) -> dict[str, Any]:
    """Which node of which run has begun it, where one has."""
    return {"parent": {"run_id": of.parent.run_id, "node": of.parent.node}} if of.parent else {}


def _origin(origin: Origin) -> dict[str, Any]:
    return {**origin._asdict(), "nodes": list(origin.nodes), "changed": list(origin.changed)}


def node_document(node: NodeDetails) -> dict[str, Any]:
    return {
        "status": str(node.status),
        "task": node.task,
        "attempts": node.attempts,
        "started_at": node.started_at,
        "finished_at": node.finished_at,
        "worker": node.worker,
        "output": node.output,
        "error": node.error,
        **({"output_missing": node.output_missing} if node.output_missing else {}),
        **({"decided": node.decided} if node.decided else {}),
        **({"last_error": node.last_error} if node.last_error and not node.error else {}),
        **({"cause": node.cause} if node.cause else {}),
        **({"child": node.child} if node.child else {}),
        **({"items": _items(node.items)} if node.items else {}),
        **({"rule": node.rule} if node.rule else {}),
        **({"hook": node.hook} if node.hook else {}),
        **({"signal": _signal(node.signal)} if node.signal else {}),
        **({"conditions": [each._asdict() for each in node.conditions]} if node.conditions else {}),
        **({"undo": node_document(node.undo)} if node.undo else {}),
    }


def _items(items: Counted) -> dict[str, Any]:
    """How far a map is, and which of its items have failed, as far as they are told."""
    return {**items._asdict(), "states": dict(items.states), "failed": [each._asdict() for each in items.failed]}


def _signal(signal: SignalDetails) -> dict[str, Any]:
    """What came for a node, and from whom; a decision with its words."""
    return {name: value for name, value in signal._asdict().items() if value != ""}


def event_document(event: RunEvent) -> dict[str, Any]:
    """An event as ``watch -o json`` prints it, one on each line."""
    return {
        "kind": event.kind,
        "node": event.node,
        "state": str(event.state),
        "at": event.at,
        "attempt": event.attempt,
        "worker": event.holder or None,
        "cause": event.cause or None,
    }


def clock_text(at: float | None) -> str:
    """A moment in local time, to the second."""
    return "" if at is None else datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def cause_text(cause: str) -> str:
    """Why a node became what it is, for people."""
    from taskmesh.store.family import run_of_ticket, ticket_of

    ticket = ticket_of(cause)
    return f"waits for run {run_of_ticket(ticket)}" if ticket else cause


def exact_clock_text(at: float) -> str:
    """A moment in local time, to the millisecond."""
    return datetime.datetime.fromtimestamp(at).isoformat(sep=" ", timespec="milliseconds")


def seconds_of(node: NodeDetails) -> float | None:
    """How long the last attempt of a node took, or all that it waited for; None where it did not run to an end."""
    if node.started_at is None or node.finished_at is None:
        return None
    return max(0.0, node.finished_at - (node.opened_at or node.started_at))


def shortened(text: str, length: int) -> str:
    """At most ``length`` characters of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def visible(text: str) -> str:
    """The text without what a terminal would obey: anybody may have written it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
