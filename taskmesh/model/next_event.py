"""What a node that has not ended waits for, told from what is stored of it.

Every unfinished node has a next event. One that has none would never end: that is a fault of the engine, which tests
look for and ``taskmesh explain`` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskmesh.model.states import NodeState


class EventKind(StrEnum):
    """What brings a node on."""

    NODES = "nodes"  # the end of nodes that it needs
    CLAIM = "claim"  # a worker takes it up, or the keeper publishes it again
    ATTEMPT = "attempt"  # its attempt ends, or the lease of the holder
    TAKEOVER = "takeover"  # its holder is gone: the redelivered message, or the keeper
    TIMER = "timer"  # its next attempt is due
    BREAKER = "breaker"  # the same, when its circuit breaker may be tried
    CHILD = "child"  # the end of the child run that it waits for
    SIGNAL = "signal"  # somebody sends what it waits for, or its time is over
    RESUME = "resume"  # somebody resumes its run


class NextEvent(NamedTuple):
    """``at``: by when it happens at the latest, or is due, in epoch seconds; None where nothing stored says so."""

    kind: EventKind
    at: float | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is stored of an unfinished node, and around it; times in epoch seconds of the store's clock.

    ``is_due``: it stands where the keeper finds it. ``needs``: those of the nodes it needs which have not told it of
    their end, and will. ``breaker`` names the one that it waits for, ``child`` the child run. ``lease_until`` is None
    where its holder has none. ``is_held``: its run is paused, and goes on. ``is_halted``: nothing new of its run
    starts. ``awaits_signal``: it waits for something that is sent, and its timer is when it is looked at again
    without.
    """

    state: NodeState
    ready_at: float = 0.0
    is_due: bool = False
    timer_at: float | None = None
    lease_until: float | None = None
    needs: tuple[str, ...] = ()
    breaker: str = ""
    child: str = ""
    is_held: bool = False
    is_halted: bool = False
    awaits_signal: bool = False


def next_event(facts: NodeFacts, now: float) -> NextEvent | None:
    """What brings the node on next; None where nothing would."""
    if facts.state is NodeState.WAITING:
        if facts.needs:
            return NextEvent(EventKind.NODES)
        # In a run that is still being prepared it has yet to be made ready.
        return NextEvent(EventKind.RESUME) if facts.is_held else None
    if facts.state is NodeState.RETRYING:
        return _of_retrying(facts, now)
    if not facts.is_due:
        return None
    if facts.state is NodeState.RUNNING:
        lives = facts.lease_until is not None and facts.lease_until > now
        return NextEvent(EventKind.ATTEMPT, facts.lease_until) if lives else NextEvent(EventKind.TAKEOVER)
    return NextEvent(EventKind.RESUME if facts.is_held else EventKind.CLAIM)


def _of_retrying(facts: NodeFacts, now: float) -> NextEvent | None:
    """Its timer wakes it; should that be lost, the keeper sets it again."""
    if facts.timer_at is None and not facts.is_due:
        return None
    due = facts.timer_at if facts.timer_at is not None else facts.ready_at
    kind = _kind_of_wait(facts)
    return NextEvent(kind, min(now, due) if facts.is_halted else due)


def _kind_of_wait(facts: NodeFacts) -> EventKind:
    if facts.breaker:
        return EventKind.BREAKER
    if facts.child:
        return EventKind.CHILD
    return EventKind.SIGNAL if facts.awaits_signal else EventKind.TIMER
