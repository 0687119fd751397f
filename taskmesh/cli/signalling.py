"""Commands that send nodes of a run what they wait for."""

from __future__ import annotations

from typing import Annotated

import typer

from taskmesh.cli.mending import NodeName, json_of, tell
from taskmesh.cli.options import Format, Output, RunId

SignalName = Annotated[
    str,
    typer.Argument(metavar="NODE", help="The node that waits, or the name of its signal.", show_default=False),
]
Payload = Annotated[str, typer.Option("--payload", metavar="JSON", help="What the signal says, as JSON.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="From whom it is; kept with the run.", show_default="your name"),
]
SignalId = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="A signal that is sent twice with one id counts once.", show_default="new"),
]
Comment = Annotated[str, typer.Option("--comment", help="Why; kept with the decision.")]


def signal(
    run: RunId,
    node: SignalName,
    payload: Payload = "null",
    by: By = None,
    signal_id: SignalId = None,
    output: Output = Format.TEXT,
) -> None:
    """Send a node the signal that it waits for, or will; the payload is its output."""
    from taskmesh.cli.targets import opened

    said = json_of(payload, "--payload")
    with opened() as mesh:
        done = mesh.run(run).signal(node, said, id=signal_id, by=by)
    sentence = f"run {run}: {node} has its signal" if done else f"run {run}: {node} had this signal before"
    tell({"run_id": run, "node": node, "signalled": done}, sentence, output)


def approve(run: RunId, node: NodeName, comment: Comment = "", by: By = None, output: Output = Format.TEXT) -> None:
    """Approve what a node asks for; what depends on it goes on."""
    _decide(run, node, True, comment, by, output)


def reject(run: RunId, node: NodeName, comment: Comment = "", by: By = None, output: Output = Format.TEXT) -> None:
    """Reject what a node asks for; the node fails."""
    _decide(run, node, False, comment, by, output)


def _decide(run: str, node: str, approved: bool, comment: str, by: str | None, output: Format) -> None:
    from taskmesh.cli.targets import opened

    verb = "approved" if approved else "rejected"
    with opened() as mesh:
        chosen = mesh.run(run)
        done = chosen.approve(node, comment, by=by) if approved else chosen.reject(node, comment, by=by)
    sentence = f"run {run}: {node} is {verb}" if done else f"run {run}: {node} was {verb} before, by the same person"
    tell({"run_id": run, "node": node, verb: done}, sentence, output)
