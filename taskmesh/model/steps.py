"""Steps: what a node does that is not, or not only, one call of its task.

Each kind is a frozen value with what does not change from run to run; whatever may hold references stands in the
``args`` of its node, as the arguments of a task do. The wire, the flow files and the engine each have a table of kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from taskmesh.model.problems import Path

if TYPE_CHECKING:
    from taskmesh.model.flow import Node


class Step:
    """What the kinds of steps have in common. Kinds are frozen dataclasses that derive from this."""

    __slots__ = ()

    kind: ClassVar[str]
    """Its name: in flow files the key that makes a node one of this kind; in messages, what tells it from others."""

    runs_task: ClassVar[bool] = False
    """Whether its node has a task, too, which the step decides about."""

    @property
    def label(self) -> str:
        """What its node runs, for people."""
        return self.kind

    @property
    def works_as(self) -> Node | None:
        """The node that it runs copies of, where it does; that is held to the rules of nodes."""
        return None

    def placed(self, node: Node, body: Node) -> Node:
        """Its node, running copies of ``body``; only where it runs copies."""
        raise NotImplementedError

    def place_of(self, name: str) -> Path:
        """Where in its node an argument of this name is said, as a path of keys."""
        return ("args", name)

    def findings(self) -> Iterator[tuple[Path, str]]:
        """What is wrong with it: where, below its node, and a sentence about that."""
        return iter(())
