"""Says in words what a parked node waits for, and until when."""

from __future__ import annotations

from collections.abc import Iterator

from taskmesh.model.durations import duration_text
from taskmesh.model.flow import Node
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
    for_what = f"a signal {signal_of(node)!r}" if isinstance(step, Wait) else "somebody's decision"
    yield f"waits for {for_what}" + (f", for {left} more" if left else ", without end")
    if left:
        yield "then its output is its default" if _has_default(node) else "then it fails with SignalTimeout"


def _has_default(node: Node) -> bool:
    return isinstance(node.step, Wait) and node.step.default is not None
