"""How the items of maps stand, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from taskmesh.model.states import NodeState

if TYPE_CHECKING:
    from taskmesh.client.counting import Counted
    from taskmesh.client.details import NodeDetails

MESSAGE_LETTERS = 200


def item_lines(nodes: Sequence[NodeDetails]) -> Iterator[str]:
    """Of each map, how many items are in which state, then those that have failed, as far as they are known."""
    from taskmesh.cli.output import shortened

    for node in nodes:
        if node.items is None or not node.items.states:
            continue
        yield f"{node.name}: {node.items.total:,} items: {_states(node.items)}"
        for each in node.items.failed:
            yield f"  {each.item}: {shortened(f'{each.type}: {each.message}', MESSAGE_LETTERS)}"
        more = node.items.states.get(NodeState.FAILED, 0) - len(node.items.failed)
        if more > 0:
            yield f"  and {more:,} more have failed; `taskmesh show {node.child}` has them all"


def _states(items: Counted) -> str:
    """In the order of the life of a node."""
    known = [state for state in NodeState if state in items.states]
    return ", ".join(f"{items.states[state]:,} {state}" for state in known)
