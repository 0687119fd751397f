"""What has happened, on the terminal: the history of a run, and of one of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Output, RunId
from taskmesh.model.states import NodeState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from taskmesh.client.details import RunEvent

OneNode = Annotated[str | None, typer.Option("--node", metavar="NAME", help="Only what happened to this node.")]

WHY_LENGTH = 200


def history(run: RunId, node: OneNode = None, output: Output = Format.TEXT) -> None:
    """Tell every transition of a run, with time, attempt, worker and cause."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        events = mesh.run(run).history(node)
    if output is Format.JSON:
        print_json([history_document(each) for each in events])
    else:
        print_history(events, console())


def history_document(event: RunEvent) -> dict[str, Any]:
    """An event as ``watch -o json`` prints it, and by whom and why."""
    from taskmesh.cli.output import event_document

    return {**event_document(event), "by": event.by or None, "why": event.why or None}


def print_history(events: Sequence[RunEvent], out: Console) -> None:
    """One line for each event."""
    out.print(_table(events) if events else "nothing has happened yet")


def _table(events: Sequence[RunEvent]) -> Table:
    from taskmesh.cli.output import NODE_LOOKS, cause_text, cell, exact_clock_text, plain_table, shortened

    table = plain_table("time", "what", "became", "attempt", "worker", "cause")
    for event in events:
        glyph, style = NODE_LOOKS[NodeState(event.state)] if event.kind == "node" else ("", "bold")
        causes = (cause_text(event.cause), event.by and f"by {event.by}", event.why)
        table.add_row(
            exact_clock_text(event.at),
            cell(event.node or event.kind),
            cell(f"{glyph} {event.state}".strip(), style),
            cell(str(event.attempt) if event.node else ""),
            cell(event.holder),
            cell(shortened("; ".join(filter(None, causes)), WHY_LENGTH)),
        )
    return table
