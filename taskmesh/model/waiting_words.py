"""Says in words what a parked node waits for, and until when."""

from __future__ import annotations

from collections.abc import Iterator

from taskmesh.model.durations import duration_text
from taskmesh.model.events.waits import EventWait
from taskmesh.model.flow import Node
from taskmesh.model.steps import Step
from taskmesh.model.waiting import Approve, Sleep, Wait, signal_of


def wait_ends_at(node: Node, opened_at: float, due_at: float) -> float | None:
    """When the wait of a node is over that was ready first at ``opened_at``; None where it has no end.

    A long wait is looked at before, at ``due_at``; the length of a sleep that a reference gives is not known here.
    """
    step = node.step
    if isinstance(step, Sleep):
        return due_at if step.seconds is None else opened_at + step.seconds
    seconds = step.timeout_seconds if isinstance(step, Wait | Approve) else None
    return None if seconds is None else opened_at + seconds


def waiting_words(node: Node, ends_at: float | None, now: float) -> Iterator[str]:
    """What it waits for, and what happens when that does not come."""
    step = node.step
    left = duration_text(max(0.0, ends_at - now)) if ends_at is not None else ""
    if isinstance(step, Sleep):
        yield f"sleeps, and goes on in {left}" if step.seconds else f"sleeps, and is looked at in {left}"
        return
    yield f"waits for {_for_what(node)}" + (f", for {left} more" if left else ", without end")
    if left:
        yield "then its output is its default" if _has_default(node) else f"then it fails with {timeout_error(step)}"


def timeout_error(step: Step | None) -> str:
    """The type of the error of a wait whose time is over."""
    return "EventTimeout" if isinstance(step, EventWait) else "SignalTimeout"


def _for_what(node: Node) -> str:
    if isinstance(node.step, EventWait):
        return f"an event {node.step.event!r}"
    return f"a signal {signal_of(node)!r}" if isinstance(node.step, Wait) else "somebody's decision"


def _has_default(node: Node) -> bool:
    return isinstance(node.step, Wait) and node.step.default is not None
