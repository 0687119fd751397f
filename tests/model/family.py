"""A run and those that begin it or are begun by it, as part of the reference model."""

from __future__ import annotations

from tests.model.answers import CHILD_LOOK_SECONDS, RUN_IS_CHILD, Answer
from tests.model.parts import Parts
from tests.model.records import NodeModel
from tests.model.shape import TO_PARENT


def cause_of(ticket: str) -> str:
    return f"run:{ticket}" if ticket else ""


class Family(Parts):
    """``parent`` is whom a child tells its end, empty in others; ``news`` what each node has heard of one last.

    ``lives`` counts how often the run went on after an end, ``told_life`` says which end its parent is to be told.
    """

    parent = ""
    lives = 0
    told_life = -1
    news: dict[int, str]

    def reach_parent(self) -> bool:
        """To be called after whatever may end the run; whether its parent must be told now."""
        if not self.parent or not self.has_ended or self.told_life == self.lives:
            return False
        self.told_life = self.lives
        self.nodes[TO_PARENT] = NodeModel("succeeded")
        if self.left is not None:
            self.left |= {TO_PARENT}
        return True

    def go_with_parent(self) -> None:
        """It is looked from time to time whether the parent still waits for it."""
        self.timers[RUN_IS_CHILD] = self.now + CHILD_LOOK_SECONDS

    def has_told_parent(self) -> bool:
        return self.nodes[TO_PARENT].told > 0

    def spread_to_parent(self) -> Answer:
        record = self.nodes.get(TO_PARENT)
        if record is None:
            return Answer("unknown")
        if record.told:
            return self.told_before("again", TO_PARENT, 0)
        self.nodes[TO_PARENT] = record._replace(told=1)
        self.timers.pop(RUN_IS_CHILD, None)
        (self.left or set()).discard(TO_PARENT)
        return Answer("spread", text=self.status)

    def redrive_to_parent(self) -> Answer:
        record = self.nodes.get(TO_PARENT)
        is_told = record is None or record.told > 0
        return Answer("settled") if is_told or record is None else Answer("redrive", (record.attempt, record.token))

    def tell_parent(self, node: int, ticket: str) -> Answer:
        record = self.nodes.get(node)
        if record is None or self.has_ended or record.ended or record.state == "waiting":
            return Answer("settled")
        if record.state == "retrying" and record.cause != cause_of(ticket):
            return Answer("settled")
        self.news[node] = ticket
        if record.state == "running":
            return Answer("kept")
        if record.state == "ready":
            return Answer("again", (record.attempt, record.token))
        self.timers.pop(node, None)
        return self.make_ready("woken", node, record)
