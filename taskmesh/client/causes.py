"""What the cause of a node that waits names: its circuit breaker, or its child run."""

from __future__ import annotations

from taskmesh.model.breakers import BEHIND_BREAKER
from taskmesh.store.family import Outcome, run_of_ticket, ticket_of
from taskmesh.store.records import NodeRecord


def breaker_of(record: NodeRecord | None) -> str:
    """The breaker that lets a node wait; empty where none does."""
    cause = record.cause if record else ""
    return cause.removeprefix(BEHIND_BREAKER) if cause.startswith(BEHIND_BREAKER) else ""


def child_of(record: NodeRecord | None, heard: bytes | None = None) -> str:
    """The child run that a node waits for, else that it has ``heard`` of last; empty where there is none."""
    ticket = ticket_of(record.cause) if record else ""
    return run_of_ticket(ticket or (Outcome.read(heard).ticket if heard else ""))
