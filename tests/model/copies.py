"""Copies of one node of which only so many may run at once, as part of the reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.records import NodeModel

if TYPE_CHECKING:
    from tests.model.parts import Parts

LEFT_OUT_AT_ONCE = 199


def begin_next(run: Parts, ender: int) -> tuple[int, ...]:
    """What one end lets begin, alone; in a halted run those before it are ended with it."""
    waiting = range(run.begun, len(run.shape.parents))
    passed = waiting[:LEFT_OUT_AT_ONCE] if run.halt else waiting[:0]
    begins = waiting[len(passed) : len(passed) + 1]
    for at in passed:
        run.nodes[at] = NodeModel("skipped", cause=f"needs:{ender}")
    for at in begins:
        run.nodes[at] = NodeModel("ready")
    run.begun += len(passed) + len(begins)
    return tuple(begins)
