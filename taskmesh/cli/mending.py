"""Commands that change the course of one run, node by node."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskmesh.cli.options import Deadline, Format, NewRunId, Output, Params, RunId, parsed
from taskmesh.cli.steering import Reason
from taskmesh.errors import UsageError

NodeName = Annotated[
    str, typer.Argument(metavar="NODE", help="A node of the run, or an item NODE[PLACE] of a map.", show_default=False)
]
FromNode = Annotated[
    str,
    typer.Option(
        "--from", metavar="NODE", help="The node to begin with, or an item NODE[PLACE] of a map.", show_default=False
    ),
]
FromNodes = Annotated[
    list[str],
    typer.Option(
        "--from",
        metavar="NODE",
        default_factory=list,
        show_default="what reads a changed parameter",
        help="A node to run again, with all that depends on it. May be repeated.",
    ),
]
NodeOutput = Annotated[str, typer.Option("--output-json", metavar="JSON", help="What the node gave back, as JSON.")]


def rerun(run: RunId, node: FromNode, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Run a node of an ended run again, all that depends on it, and all that has not succeeded."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        mesh.run(run).rerun(node, reason)
    tell({"run_id": run, "from": node, "rerun": True}, f"run {run} goes on from {node}", output)


def fork(
    run: RunId,
    param: Params,
    nodes: FromNodes,
    run_id: NewRunId = None,
    deadline: Deadline = None,
    reason: Reason = "",
    output: Output = Format.TEXT,
) -> None:
    """Make a new run that takes over what a run has done, and runs the rest, maybe with other parameters.

    With --from, that node runs again and all that depends on it; without, all that reads a parameter which is changed.
    What has not succeeded runs in either case. The other run is not changed.
    """
    from taskmesh.cli.targets import opened, seconds_of, values_of

    deadline_seconds = seconds_of(deadline, "--deadline")
    with opened() as mesh:
        source = mesh.run(run)
        params = values_of(param, source.flow()) if param else {}
        forked = source.fork(*nodes, params=params, id=run_id, deadline_seconds=deadline_seconds, reason=reason)
    tell({"run_id": forked.id, "forked_from": run}, forked.id, output)


def skip(run: RunId, node: NodeName, reason: Reason = "", output: Output = Format.TEXT) -> None:
    """Skip a node that has not ended, and with it all that depends on it."""
    from taskmesh.cli.targets import opened

    with opened() as mesh:
        done = mesh.run(run).skip(node, reason)
    tell({"run_id": run, "node": node, "skipped": done}, _sentence(run, node, "skipped", done), output)


def mark(
    run: RunId, node: NodeName, value: NodeOutput = "null", reason: Reason = "", output: Output = Format.TEXT
) -> None:
    """Take a node that has not ended for succeeded, with an output; what depends on it goes on."""
    from taskmesh.cli.targets import opened

    result = json_of(value, "--output-json")
    with opened() as mesh:
        done = mesh.run(run).mark(node, result, reason)
    tell({"run_id": run, "node": node, "marked": done}, _sentence(run, node, "taken for succeeded", done), output)


def json_of(text: str, option: str) -> Any:
    """:raises UsageError: the text of an option is no JSON."""
    try:
        return parsed(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option} {text!r:.100} is not JSON: {error}") from None


def _sentence(run: str, node: str, what: str, done: bool) -> str:
    return f"run {run}: node {node} is {what}" if done else f"run {run}: node {node} was {what} before"


def tell(document: dict[str, Any], sentence: str, output: Format) -> None:
    """Say what was done."""
    from taskmesh.cli.output import print_json

    if output is Format.JSON:
        print_json(document)
    else:
        print(sentence)
