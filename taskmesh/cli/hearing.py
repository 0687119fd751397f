"""Commands about events."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.mending import json_of
from taskmesh.cli.options import Format, Output

if TYPE_CHECKING:
    from rich.table import Table

    from taskmesh.client.publishing import WaitingBatch

Flow = Annotated[str, typer.Option("--flow", metavar="NAME", help="Only of runs of this flow.", show_default="any")]
Type = Annotated[
    str, typer.Option("--type", metavar="TYPE", help="Only run, node, run.failed, node.skipped ...", show_default="any")
]
Count = Annotated[int | None, typer.Option("--count", min=1, help="End after so many.", show_default="never")]


def tail(flow: Flow = "", type_: Type = "", count: Count = None, output: Output = Format.TEXT) -> None:
    """Print the events of runs and nodes that end from now on, of flows that send them; until Ctrl-C.

    As JSON, one CloudEvent a line.
    """
    from taskmesh.app.event_tail import tail
    from taskmesh.cli.output import console
    from taskmesh.config import load_settings
    from taskmesh.model.events.published import EventFilter

    out = console()
    with tail(load_settings(), EventFilter.of(type_, flow)) as events:
        print("listening for events; Ctrl-C ends it", file=sys.stderr, flush=True)
        for event in islice(events, count):
            if output is Format.JSON:
                print(json.dumps(event, ensure_ascii=False), flush=True)
            else:
                out.print(line_of(event), soft_wrap=True)


EventType = Annotated[str, typer.Argument(metavar="TYPE", help="As order.created.", show_default=False)]
Data = Annotated[str, typer.Option("--data", metavar="JSON", help="What the event says, as JSON.")]
EventId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="ID", help="An event that is published twice with one id counts once.", show_default="new"
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")]
Source = Annotated[str | None, typer.Option("--source", metavar="TEXT", help="Where it happened; ids are of a source.")]


def publish(
    type_: EventType,
    data: Data = "null",
    event_id: EventId = None,
    source: Source = None,
    output: Output = Format.TEXT,
) -> None:
    """Publish an event: it begins a run of each registered flow that is subscribed, and ends the waits of nodes for it.

    Prints the ids of the runs that it has begun. Flows that gather events begin theirs later; see `taskmesh events ls`.
    """
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    said = json_of(data, "--data")
    with opened() as mesh:
        runs = [run.id for run in mesh.publish_event(type_, said, id=event_id, source=source)]
    if output is Format.JSON:
        print_json({"type": type_, "runs": runs})
    else:
        print("\n".join(runs) or "it begins no run now: no flow is subscribed to it, or only such as gather events")


def ls(limit: Limit = 50, output: Output = Format.TEXT) -> None:
    """List the batches of events whose runs have not begun: those that are closed, then those that close next."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        found = mesh.event_batches(limit)
    if output is Format.JSON:
        print_json([each._asdict() for each in found])
    else:
        console().print(_table(found) if found else "no batch of events waits")


def _table(found: Sequence[WaitingBatch]) -> Table:
    from taskmesh.cli.output import cell, clock_text, plain_table

    table = plain_table("run", "flow", "key", "events", "opened", "closes")
    for each in found:
        closes = clock_text(each.closes_at) if each.is_open else "closed"
        table.add_row(each.run_id, each.flow, cell(each.key), str(each.size), clock_text(each.opened_at), cell(closes))
    return table


def line_of(event: Mapping[str, Any]) -> str:
    """An event for people; of what others have published, as much as can be read."""
    data = event.get("data")
    fields: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    line = f"{event.get('time', '?')}  {event.get('type', '?')}  {event.get('subject', '?')}"
    if flow := fields.get("flow"):
        line += f"  ({flow})"
    error = fields.get("error")
    if isinstance(error, Mapping):
        line += f"  {error.get('type', '')}: {error.get('message', '')}"
    return line.replace("\n", " ")
