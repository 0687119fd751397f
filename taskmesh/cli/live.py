"""A run while it goes on: a picture that is redrawn on a terminal, one line per event elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from taskmesh.cli.fan_outs import FanOuts
from taskmesh.cli.output import NODE_LOOKS, RUN_STYLES, cause_text, clock_text, duration_text
from taskmesh.cli.picture import Picture
from taskmesh.cli.progress import Progress
from taskmesh.clock import SystemClock
from taskmesh.model.states import NodeState, RunState

if TYPE_CHECKING:
    from rich.console import Console

    from taskmesh.app.run import Run
    from taskmesh.client.details import RunDetails, RunEvent

REDRAWS_PER_SECOND = 8

_OF_THE_RUN = {"run": "the run has", "halt": "halted: it will be", "pause": "the run is", "resume": "resumed: it is"}
"""How a line about a run as a whole begins, by the kind of the event."""


def follow(run: Run, console: Console) -> RunDetails:
    """Show a run until it has ended; returns what became of it."""
    state = Progress(run.details(fetch_outputs=False))
    if console.is_terminal and not console.is_dumb_terminal:
        _draw(run, state, console)
    else:
        _log(run, state, console)
    return run.details(fetch_outputs=False)


def _draw(run: Run, state: Progress, console: Console) -> None:
    clock = SystemClock()
    picture = Picture(state, clock, FanOuts(run.counted, clock))
    with Live(picture, console=console, refresh_per_second=REDRAWS_PER_SECOND):
        for event in run.watch():
            state.apply(event)


def _log(run: Run, state: Progress, console: Console) -> None:
    console.print(f"run {state.run_id}: {state.title}, {state.total} nodes", soft_wrap=True)
    for event in run.watch():
        if state.apply(event):
            console.print(event_line(event, state), soft_wrap=True)


def event_line(event: RunEvent, state: Progress) -> Text:
    """One event for a log."""
    line = Text(clock_text(event.at) + "  ")
    if event.node is None:
        status = RunState(event.state)
        words = "the run is" if status.compensates else _OF_THE_RUN[event.kind]
        return line.append(f"{words} {event.state}", RUN_STYLES[status])
    glyph, style = NODE_LOOKS[NodeState(event.state)]
    cause = f" ({cause_text(event.cause)})" if event.cause else ""
    line.append(f"{glyph} {event.node} {event.state}{cause}", style)
    node = state.node(event.node)
    if node.started_at is not None and node.finished_at is not None:
        line.append(f", {duration_text(node.finished_at - node.started_at)}")
    if event.attempt > 1:
        line.append(f", attempt {event.attempt}")
    return line
