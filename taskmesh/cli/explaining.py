"""The command that tells what a run waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskmesh.cli.options import Format, Output, RunId

if TYPE_CHECKING:
    from rich.console import Console

    from taskmesh.client.explaining import RunExplanation
    from taskmesh.model.explanation import NodeExplanation

SHOWN_NODES = 20

OneNode = Annotated[
    str | None, typer.Argument(metavar="[NODE]", help="Only this node, also when it has ended.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help=f"All unfinished nodes, not only the first {SHOWN_NODES}.")]


def explain(run: RunId, node: OneNode = None, everything: All = False, output: Output = Format.TEXT) -> None:
    """Tell what each unfinished node of a run waits for, and until when."""
    from taskmesh.cli.output import console, print_json
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        explanation = mesh.run(run).explain(node, None if everything else SHOWN_NODES)
    if output is Format.JSON:
        print_json(_document(explanation))
    else:
        _print(explanation, console(), one_node=node is not None)


def _document(explanation: RunExplanation) -> dict[str, Any]:
    return {
        "run_id": explanation.run_id,
        "status": str(explanation.status),
        "at": explanation.at,
        "reasons": list(explanation.reasons),
        "commands": list(explanation.commands),
        "states": dict(explanation.states),
        "unfinished": explanation.unfinished,
        "nodes": {each.node: _node_document(each) for each in explanation.nodes},
    }


def _node_document(node: NodeExplanation) -> dict[str, Any]:
    return {
        "state": str(node.state),
        "attempt": node.attempt,
        "since": node.since,
        "waits_for": None if node.event is None else str(node.event),
        "until": node.until,
        "needs": list(node.needs),
        "reasons": list(node.reasons),
    }


def _print(explanation: RunExplanation, out: Console, one_node: bool) -> None:
    from taskmesh.cli.output import NODE_LOOKS, RUN_STYLES, cell

    head = cell(str(explanation.status), RUN_STYLES[explanation.status])
    out.print(head.append(f"  run {explanation.run_id}", "not bold"), soft_wrap=True)
    for line in explanation.reasons:
        out.print(line, soft_wrap=True)
    for node in explanation.nodes:
        glyph, style = NODE_LOOKS[node.state]
        first, *others = node.reasons
        out.print(cell(f"{glyph} {node.node}", style).append(f": {first}", "not bold not dim"), soft_wrap=True)
        for line in others:
            out.print(f"    {line}", soft_wrap=True)
    for line in _rest(explanation, one_node):
        out.print(line, soft_wrap=True)


def _rest(explanation: RunExplanation, one_node: bool) -> Iterator[str]:
    more = explanation.unfinished - len(explanation.nodes)
    if more > 0 and not one_node:
        yield f"and {more} more nodes; --all shows them"
    for command in explanation.commands:
        yield f"next: {command}"
