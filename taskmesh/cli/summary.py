"""What is said of a run at its end: how it ended, what took longest, what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from taskmesh.cli.output import (
    NODE_LOOKS,
    RUN_STYLES,
    cell,
    clock_text,
    duration_text,
    plain_table,
    seconds_of,
    shortened,
)
from taskmesh.cli.progress import graph_of
from taskmesh.client.run_reasons import origin_text
from taskmesh.model.problems import listed
from taskmesh.model.states import NodeState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from taskmesh.client.details import NodeDetails, RunDetails

LEFT_OUT = (NodeState.UPSTREAM_FAILED, NodeState.SKIPPED)
DID_NOT_RUN = (*LEFT_OUT, NodeState.CANCELLED)

MAX_SLOWEST = 5
MAX_FAILURES = 10
MAX_PATH = 12
MESSAGE_LENGTH = 300


def print_summary(details: RunDetails, console: Console) -> None:
    """Print the end of a run."""
    console.print(headline(details), soft_wrap=True)
    durations = {node.name: seconds for node in details.nodes if (seconds := seconds_of(node)) is not None}
    if len(durations) > 1:
        console.print(_slowest(details.nodes, durations))
        console.print(critical_path_line(details, durations), soft_wrap=True)
    for line in failures(details):
        console.print(line, soft_wrap=True)


def headline(details: RunDetails) -> Text:
    """The end in one line."""
    done = sum(node.status is NodeState.SUCCEEDED for node in details.nodes)
    cause = f" ({details.cause})" if details.compensates else ""
    line = Text(f"{details.status}{cause}", RUN_STYLES[details.status])
    line.append(f"  {title(details)}, run {details.run_id}: {done} of {len(details.nodes)} nodes", "")
    if details.finished_at is None:
        return line
    seconds = max(0.0, details.finished_at - details.submitted_at)
    line.append(f" in {duration_text(seconds)}", "")
    return line.append(f", {done / seconds:,.0f} nodes/s", "") if seconds > 0 else line


def title(details: RunDetails) -> str:
    """The flow of a run, with the version that is registered, if one is."""
    registered = f" ({details.flow}@{details.registered})" if details.registered else ""
    return f"{details.flow} {details.version}{registered}"


def decided(details: RunDetails) -> Iterator[Text]:
    """Who began a run, paused it, or ended it early, and why."""
    if details.parent is not None:
        yield Text(f"begun by node {details.parent.node} of run {details.parent.run_id}")
    if details.forked_from is not None:
        origin = details.forked_from
        yield Text(_decision(f"forked from {origin_text(origin)}", origin.by, origin.why, details.submitted_at))
    if details.paused is not None:
        what = "paused" if details.paused.kind == "user" else f"paused to prepare it ({details.paused.kind})"
        yield Text(_decision(what, details.paused.by, details.paused.why, details.paused.at))
    if details.halted_by is not None:
        what = str(details.status) if details.status.ended else "being cancelled"
        yield Text(_decision(what, details.halted_by.by, details.halted_by.why, details.halted_by.at))


def _decision(what: str, by: str, why: str, at: float) -> str:
    return f"{what} by {by} at {clock_text(at)}" + (f": {why}" if why else "")


def critical_path_line(details: RunDetails, durations: Mapping[str, float]) -> Text:
    """The chain of nodes that the run could not have been faster than, with the seconds of each."""
    names = graph_of(details).critical_path(durations)
    whole = sum(durations.get(name, 0.0) for name in names)
    steps = [f"{name} {duration_text(durations.get(name, 0.0))}" for name in names]
    if len(steps) > MAX_PATH:
        half = MAX_PATH // 2
        steps = [*steps[:half], f"({len(steps) - 2 * half} more)", *steps[-half:]]
    return Text("critical path", "bold").append(f" {duration_text(whole)}: {' → '.join(steps)}", "not bold")


def failures(details: RunDetails) -> Iterator[Text]:
    """What failed and why, and how many nodes did not run for it."""
    failed = [node for node in _with_undos(details) if node.status is NodeState.FAILED]
    glyph, style = NODE_LOOKS[NodeState.FAILED]
    for node in failed[:MAX_FAILURES]:
        yield Text(f"{glyph} {node.name}: ", style).append(_reason(node), "not bold")
    if len(failed) > MAX_FAILURES:
        yield Text(f"{glyph} and {len(failed) - MAX_FAILURES} more", style)
    yield from _earlier_failures(details)
    left_out = sum(node.status in DID_NOT_RUN for node in details.nodes)
    if left_out:
        yield Text(f"{left_out} {'node' if left_out == 1 else 'nodes'} did not run", NODE_LOOKS[NodeState.SKIPPED][1])
    if details.left_to_undo:
        yield Text(f"still to be undone: {listed(details.left_to_undo, MAX_FAILURES)}", style)


def _with_undos(details: RunDetails) -> list[NodeDetails]:
    return [*details.nodes, *(node.undo for node in details.nodes if node.undo)]


def _earlier_failures(details: RunDetails) -> Iterator[Text]:
    """What earlier attempts said of nodes that go on, or have succeeded since."""
    retried = [node for node in _with_undos(details) if node.last_error and not node.error]
    glyph, style = NODE_LOOKS[NodeState.RETRYING]
    for node in retried[:MAX_FAILURES]:
        line = Text(f"{glyph} {node.name}, {node.attempts} attempts: ", style)
        yield line.append(_reason(node), "not bold")
    if len(retried) > MAX_FAILURES:
        yield Text(f"{glyph} and {len(retried) - MAX_FAILURES} more were tried again", style)


def _reason(node: NodeDetails) -> str:
    error = node.error or node.last_error or {}
    return shortened(f"{error.get('type', 'unknown error')}: {error.get('message', '')}", MESSAGE_LENGTH)


def _slowest(nodes: Sequence[NodeDetails], durations: Mapping[str, float]) -> Table:
    table = plain_table("slowest nodes", "task", "took", "attempts")
    ran = [node for node in nodes if node.name in durations]
    for node in sorted(ran, key=lambda node: -durations[node.name])[:MAX_SLOWEST]:
        texts = (node.name, node.task, duration_text(durations[node.name]), str(node.attempts))
        table.add_row(*map(cell, texts))
    return table
