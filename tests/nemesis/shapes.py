"""Flows that are put together node by node, of the tasks of the app."""

from __future__ import annotations

import random
from collections.abc import Sequence

from taskmesh.model.flow import Flow, Node
from taskmesh.model.validation import complete


def checked(name: str, nodes: Sequence[Node]) -> Flow:
    """A flow of given nodes."""
    return complete(Flow(name=name, version="1", nodes=tuple(nodes)))


def foreign_flow(task: str) -> Flow:
    """A flow with a task that this app does not have, between two that it has."""
    names = ("first", "foreign", "last")
    tasks = ("step", task, "step")
    needs: tuple[tuple[str, ...], ...] = ((), names[:1], names[1:2])
    return checked("foreign", [Node(n, t, needs=of) for n, t, of in zip(names, tasks, needs, strict=True)])


def layered_flow(name: str, layers: int, width: int, parents: int, seed: int) -> Flow:
    """Layers of nodes, each of which needs some of the layer before."""
    dice = random.Random(seed)
    nodes: list[Node] = []
    above: list[str] = []
    for layer in range(layers):
        names = [f"n{layer}_{place}" for place in range(width)]
        for each in names:
            needs = tuple(sorted(dice.sample(above, min(parents, len(above)))))
            nodes.append(Node(each, "step", {"parents": [f"${{nodes.{need}.output}}" for need in needs]}, needs))
        above = names
    return checked(name, nodes)
