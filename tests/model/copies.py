"""Copies of one node of which only so many may run at once, as part of the reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.records import NodeModel

if TYPE_CHECKING:
    from tests.model.parts import Parts

LEFT_OUT_AT_ONCE = 199


def let_next_begin(run: Parts, ender: int) -> tuple[int, ...]:
    """What the end of a copy lets begin, which is noted with it."""
    followers = _begin_next(run, ender) if run.shape.bound else ()
    if followers:
        run.nodes[ender] = run.nodes[ender]._replace(let_begin=followers[0])
    return followers


def _begin_next(run: Parts, ender: int) -> tuple[int, ...]:
    """What one end lets begin, alone; in a halted run those before it are ended with it."""
    waiting = _waiting(run)
    passed = waiting[:LEFT_OUT_AT_ONCE] if run.halt else []
    begins = waiting[len(passed) : len(passed) + 1]
    following = waiting[len(passed) + 1 :] or [len(run.shape.parents)]
    for at in passed:
        run.nodes[at] = run.fresh(at, "skipped")._replace(cause=f"needs:{ender}")
    for at in begins:
        run.nodes[at] = run.fresh(at, "ready")
    if passed or begins:
        run.begun, run.has_begun_more = following[0], True
    return tuple(begins)


def _waiting(run: Parts) -> list[int]:
    """Those that have yet to begin, in their order."""
    found, at = [], run.begun
    while at < len(run.shape.parents):
        found.append(at)
        node = run.nodes.get(at, NodeModel("waiting"))
        at = at + 1 if node.let_begin is None else node.let_begin
    return found
