"""Tells a run in text, for the message of a test that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskmesh.app.run import Run
from taskmesh.client.details import NodeDetails, RunDetails, RunEvent

MAX_NODES = 60
MAX_EVENTS = 80


def picture_of(run: Run) -> str:
    """Each node with its state, what happened in which order, and what the run waits for."""
    return "\n".join(_lines(run))


def waits_of(runs: Sequence[Run]) -> str:
    """What unfinished runs wait for."""
    return "\n".join(line for run in runs for line in _waits(run))


def _lines(run: Run) -> Iterator[str]:
    details = run.details()
    yield f"run {run.id} of {details.flow}: {details.status}" + (f", {details.error}" if details.error else "")
    rows = [row for node in details.nodes for row in _rows(node)]
    for row in rows[:MAX_NODES]:
        yield f"  {row}"
    if len(rows) > MAX_NODES:
        yield f"  ... and {len(rows) - MAX_NODES} more"
    yield "in this order:"
    yield from _events(run.history(), details)
    if not details.status.ended:
        yield from _waits(run)


def _rows(node: NodeDetails) -> Iterator[str]:
    tries = f" after {node.attempts} attempts" if node.attempts > 1 else ""
    error = f": {node.error['type']}: {node.error['message']}" if node.error else ""
    needs = f" (needs {', '.join(node.needs)})" if node.needs else ""
    yield f"{node.name:<20} {node.status}{tries}{needs}{error}"
    if node.undo is not None:
        yield from _rows(node.undo)


def _events(events: Sequence[RunEvent], details: RunDetails) -> Iterator[str]:
    for event in events[:MAX_EVENTS]:
        attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
        why = f": {event.why}" if event.why else ""
        since = event.at - details.submitted_at
        yield f"  {since:>12.3f} s  {event.node or 'the run'} {event.state}{attempt}{why}"
    if len(events) > MAX_EVENTS:
        yield f"  ... and {len(events) - MAX_EVENTS} more"


def _waits(run: Run) -> Iterator[str]:
    explanation = run.explain()
    yield f"run {run.id} is {explanation.status}"
    for reason in explanation.reasons:
        yield f"  {reason}"
    for node in explanation.nodes:
        yield f"  {node.node} is {node.state}: {'; '.join(node.reasons) or 'nothing would bring it on'}"
