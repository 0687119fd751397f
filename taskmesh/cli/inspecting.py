"""Commands that look at runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Limit, Output, RunId
from taskmesh.model.states import RunState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from taskmesh.app.run import Run
    from taskmesh.client.details import NodeDetails, RunDetails
    from taskmesh.store.records import RunSummary

OUTPUT_LENGTH = 120

Status = Annotated[RunState | None, typer.Option("--status", help="Only runs with this status.")]
OneNode = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="Only this node, or item NODE[PLACE] of a map, with all attempts."),
]
ParentRun = Annotated[str | None, typer.Option("--parent", metavar="RUN", help="Only child runs of this run.")]
FlowName = Annotated[str | None, typer.Option("--flow", metavar="NAME", help="Only runs of this flow.")]


def ls(
    status: Status = None,
    flow: FlowName = None,
    parent: ParentRun = None,
    limit: Limit = 50,
    output: Output = Format.TEXT,
) -> None:
    """List runs."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        runs = mesh.runs(status=status, flow=flow, limit=limit, parent=parent)
    if output is Format.JSON:
        print_json([_summary_document(each) for each in runs])
    else:
        console().print(_runs_table(runs) if runs else "no runs")


def show(run: RunId, node: OneNode = None, output: Output = Format.TEXT) -> None:
    """Show everything that is known of a run and its nodes, or of one node with all its attempts."""
    from taskmesh.cli.output import console, print_json, run_document
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        if node is not None:
            _show_node(mesh.run(run), node, output)
            return
        details = mesh.run(run).details()
    if output is Format.JSON:
        print_json(run_document(details))
    else:
        _print_details(details, console())


def _show_node(run: Run, name: str, output: Format) -> None:
    from taskmesh.cli.item_lines import item_lines
    from taskmesh.cli.output import console, json_text, node_document, print_json
    from taskmesh.cli.telling import history_document, print_history

    history, node = run.history(name), run.node(name)
    document = node_document(node)
    if output is Format.JSON:
        print_json({**document, "history": [history_document(each) for each in history]})
        return
    out = console()
    for key in ("task", "status", "attempts", "worker", "output"):
        out.print(f"{key:9} {json_text(document[key], indent=None)}", soft_wrap=True)
    for key in ("output_missing", "rule", "hook", "cause", "child"):
        if key in document:
            out.print(f"{key:9} {document[key]}", soft_wrap=True)
    for line in (*item_lines([node]), *_signal_lines(document)):
        out.print(line, soft_wrap=True)
    for condition in document.get("conditions", ()):
        holds = json_text(condition["holds"], indent=None)
        out.print(f"condition {condition['condition']!r}: {holds} ({condition['values']})", soft_wrap=True)
    if error := document["error"] or document.get("last_error"):
        out.print(error["traceback"] or f"{error['type']}: {error['message']}", soft_wrap=True)
    print_history(history, out)


def _signal_lines(node: Mapping[str, Any]) -> Iterator[str]:
    from taskmesh.cli.output import clock_text

    if signal := node.get("signal"):
        comment = f": {signal['comment']}" if signal.get("comment") else ""
        yield f"signal    {signal.get('verdict', 'signalled')} by {signal['by']}, {clock_text(signal['at'])}{comment}"


def watch(run: RunId, output: Output = Format.TEXT) -> None:
    """Follow a run until it has ended; with -o json, one JSON object on each line."""
    from taskmesh.cli.live import follow
    from taskmesh.cli.output import console, event_document, print_json
    from taskmesh.cli.running import end_as
    from taskmesh.cli.summary import print_summary
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        watched = mesh.run(run)
        if output is Format.JSON:
            for event in watched.watch():
                print_json(event_document(event), indent=None)
            details = watched.details(fetch_outputs=False)
        else:
            out = console()
            details = follow(watched, out)
            print_summary(details, out)
    end_as(details)


def compensate(run: RunId, output: Output = Format.TEXT) -> None:
    """Undo what a run did that has failed or was cancelled; go on where undos had failed. Workers do the work."""
    from taskmesh.cli.output import print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        chosen = mesh.run(run)
        chosen.compensate()
        status = chosen.status()
    if output is Format.JSON:
        print_json({"run_id": run, "status": str(status)})
    else:
        print(f"run {run} is being compensated; `taskmesh watch {run}` follows it")


def _summary_document(summary: RunSummary) -> dict[str, Any]:
    from taskmesh.cli.output import decisions, parent_of

    return {
        "run_id": summary.run_id,
        "flow": summary.flow,
        "version": summary.version,
        "status": str(summary.status),
        "tags": summary.tags,
        "nodes": summary.nodes,
        "remaining": summary.remaining,
        "submitted_at": summary.submitted_at,
        "finished_at": summary.finished_at,
        **decisions(summary),
        **parent_of(summary),
    }


def _runs_table(runs: Sequence[RunSummary]) -> Table:
    from taskmesh.cli.output import RUN_STYLES, cell, clock_text, duration_text, plain_table

    table = plain_table("run", "flow", "status", "nodes", "submitted", "took", "tags")
    for each in runs:
        took = None if each.finished_at is None else each.finished_at - each.submitted_at
        table.add_row(
            cell(each.run_id),
            cell(f"{each.flow} {each.version}"),
            cell(str(each.status), RUN_STYLES[each.status]),
            cell(f"{each.nodes - each.remaining}/{each.nodes}"),
            cell(clock_text(each.submitted_at)),
            cell(duration_text(took)),
            cell(" ".join(f"{name}={text}" for name, text in each.tags.items())),
        )
    return table


def _last_cell(node: NodeDetails) -> str:
    """What a node gave back, or why there is nothing to show."""
    from taskmesh.cli.output import json_text, shortened
    from taskmesh.cli.summary import LEFT_OUT

    if node.error and node.status in LEFT_OUT:
        return shortened(node.error["message"], OUTPUT_LENGTH)
    shown = "" if node.output is None else json_text(node.output, indent=None)
    return shortened(node.output_missing or shown, OUTPUT_LENGTH)


def _print_details(details: RunDetails, out: Console) -> None:
    from taskmesh.cli.item_lines import item_lines
    from taskmesh.cli.output import (
        NODE_LOOKS,
        cell,
        clock_text,
        duration_text,
        json_text,
        plain_table,
        seconds_of,
    )
    from taskmesh.cli.summary import decided, failures, headline

    out.print(headline(details), soft_wrap=True)
    out.print(f"submitted {clock_text(details.submitted_at)}", soft_wrap=True)
    for name, said in details.context.said().items():
        out.print(f"{name} {said if isinstance(said, str) else json_text(said, indent=None)}", soft_wrap=True)
    for line in decided(details):
        out.print(line, soft_wrap=True)
    table = plain_table("node", "task", "attempts", "took", "output")
    for node in details.nodes:
        glyph, style = NODE_LOOKS[node.status]
        task = f"{node.task} → run {node.child}" if node.child else node.task
        task += f", {node.items}" if node.items else ""
        texts = (task, str(node.attempts), duration_text(seconds_of(node)), _last_cell(node))
        table.add_row(cell(f"{glyph} {node.name}", style), *map(cell, texts))
        if node.undo:
            glyph, style = NODE_LOOKS[node.undo.status]
            took = duration_text(seconds_of(node.undo))
            table.add_row(
                cell(f"  {glyph} {node.undo.name}", style),
                *map(cell, (node.undo.task, str(node.undo.attempts), took, "")),
            )
    out.print(table)
    for text in (*item_lines(details.nodes), *failures(details)):
        out.print(text, soft_wrap=True)
    for letter_id in details.dead_letters:
        out.print(f"a message of this run is a dead letter: taskmesh dead show {letter_id}", soft_wrap=True)
