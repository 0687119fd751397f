"""How a run is undone, as plain values: one half of the reference model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.model.records import NodeModel

if TYPE_CHECKING:
    from tests.model.parts import Parts
    from tests.model.shape import Shape

NOTHING = "nothing"
"""The cause of an undo that had nothing to undo: those after it go on."""


def passes(node: NodeModel) -> bool:
    return node.state == "succeeded" or node.cause == NOTHING


def tell(run: Parts, node: int, start: int) -> tuple[list[int], list[int]]:
    """Tell one slice of undos that one before them has ended; those that became ready, and that have others to tell.

    Nothing becomes of an undo before all those before it have told it, each time that undoing is begun.
    """
    told = run.shape.children[node][start : start + run.shape.slice_size]
    teller = run.nodes[node] = run.nodes[node]._replace(told=start + len(told))
    cause = "" if passes(teller) else f"needs:{node}"
    decided = [undo for undo in told if run.has_heard_all(undo)]
    for undo in told:
        if undo in decided:
            run.nodes[undo] = _next(run, undo, cause)
        elif cause:
            run.blocked[undo] = f"{run.walk}/{cause}"
    ready = [undo for undo in decided if run.nodes[undo].state == "ready"]
    return ready, [undo for undo in decided if undo not in ready and run.shape.children[undo]]


def heard(run: Parts, undo: int) -> int:
    """How many of the undos before it have told it, since undoing was last begun."""
    return sum(1 for each in run.shape.before(undo) if _has_told(run, each, undo))


def arrived(run: Parts, undo: int) -> int:
    """What is counted of it: the undos before it were all counted each earlier time."""
    return len(run.shape.before(undo)) * max(0, run.walk - 1) + heard(run, undo)


def _has_told(run: Parts, teller: int, undo: int) -> bool:
    record = run.nodes.get(teller)
    return (
        record is not None
        and record.walk == run.walk
        and record.ended
        and run.shape.children[teller].index(undo) < record.told
    )


def _next(run: Parts, undo: int, cause: str) -> NodeModel:
    known = run.nodes.get(undo)
    if known is not None and passes(known):
        return known._replace(told=0, walk=run.walk)
    number, _, earlier = run.blocked.get(undo, "").partition("/")
    if not cause and number == str(run.walk):
        cause = earlier
    if not cause and not (run.shape.can_undo(undo) and run.undoes(undo - run.shape.undo_base)):
        cause = NOTHING
    if known is not None:
        run.remember_attempt(undo, "skipped" if cause else "ready", "reset")
    token = known.token + 1 if known else 1
    error = known.error if known else b""
    return NodeModel("skipped" if cause else "ready", token=token, cause=cause, walk=run.walk, error=error)


def check_undo(shape: Shape, nodes: Mapping[int, NodeModel], at: int, undo: NodeModel) -> None:
    """It began only after all before it let it pass, only where there is something to undo, and after all nodes."""
    assert all(node in nodes and nodes[node].ended for node in range(shape.undo_base)), "an undo began while nodes ran"
    if at < 0:
        return
    earlier = [nodes.get(each) for each in shape.before(at)]
    assert None not in earlier, f"undo {at} became something before it was told"
    if passes(undo) or not undo.ended:
        assert all(each and passes(each) for each in earlier), f"undo {at} began before what it must come after"
    if undo.state != "skipped":
        done = nodes[at - shape.undo_base].state == "succeeded"
        assert shape.can_undo(at), f"nothing could undo the node of undo {at}"
        assert done, f"undo {at} undoes what was never done"
