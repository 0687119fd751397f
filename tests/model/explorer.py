"""Every state that a small run can reach with two workers, a keeper and a broker that may do their worst.

Breadth first, over the reference model.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from taskmesh.model.hooks import fate_after
from taskmesh.model.states import NodeState
from tests.model.moves import moves
from tests.model.reference import ENDED, NodeModel
from tests.model.steering import BY_HAND
from tests.model.undoing import check_undo
from tests.model.worlds import Setting, World, is_end, start

WISHES = frozenset({"cancel", "pause", "terminate", "mark", "reopen"})
FAULTS = WISHES | {"crash", "duplicate", "lose", "lose a timer", "lapse", "keeper dies", "sender dies", "time out"}
"""What need not happen for a run to end."""


@dataclass
class Found:
    """All states, what each leads to without a fault, and which are ends."""

    before: dict[World, list[World]] = field(default_factory=dict)
    ends: list[World] = field(default_factory=list)
    moves: int = 0

    def without_an_end(self) -> int:
        """How many states cannot come to an end even when no fault strikes any more."""
        reached, queue = set(self.ends), deque(self.ends)
        while queue:
            for world in self.before[queue.popleft()]:
                if world not in reached:
                    reached.add(world)
                    queue.append(world)
        return len(self.before) - len(reached)


def explore(setting: Setting, check: Callable[[Setting, World], None]) -> Found:
    """Visit every state; ``check`` is called with each of them, and both sides of every move are compared."""
    with _no_collections():
        return _explore(setting, check)


def _explore(setting: Setting, check: Callable[[Setting, World], None]) -> Found:
    first = start(setting)
    found, queue = Found({first: []}), deque([first])
    while queue:
        world = queue.popleft()
        if is_end(setting, world):
            found.ends.append(world)
        for move in moves(setting, world):
            found.moves += 1
            _check_ends(world, move.after)
            # To hash a state takes long, so it is looked up once.
            before = found.before.get(move.after)
            if before is None:
                check(setting, move.after)
                before = found.before[move.after] = []
                queue.append(move.after)
            if move.name not in FAULTS:
                before.append(world)
    return found


@contextmanager
def _no_collections() -> Iterator[None]:
    """States form no cycles, and a garbage collector that looks through all of them again and again takes long.

    Besides, it would call hooks of others (hypothesis has one). An exception that a signal raises there, as the one
    that ends a test after its timeout, goes no further; so the test would go on.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_ends(before: World, after: World) -> None:
    """What has ended stays so, unless undoing is begun again, or the run."""
    if before.nodes is after.nodes or before.is_prepared:
        return
    now = dict(after.nodes)
    for at, node in before.nodes:
        begun_again = now[at].walk > node.walk and node.state != "succeeded"
        if node.state in ENDED and not begun_again:
            assert now[at].state == node.state, f"node {at} ended twice"


def check_state(setting: Setting, world: World) -> None:
    """What must hold of every state."""
    nodes = dict(world.nodes)
    if setting.shape.bound:
        begun = [at for at, node in world.nodes if node.state not in ENDED]
        assert len(begun) <= setting.shape.bound, "more copies have begun than may run at once"
        return
    # Also where that was cut off.
    is_being_reset = world.is_prepared or (world.altered and world.left is not None)
    for at, node in world.nodes:
        if at in setting.waiting and node.state == "failed":
            assert at not in world.signals, f"node {at} did not hear its signal"
        if not is_being_reset and node.state != "waiting" and node.cause != BY_HAND:
            _check_order(setting, nodes, at, node)
    held = [doing.node for _, doing in world.workers if doing and doing.step == "settle" and doing.current]
    assert len(held) == len(set(held)), "two workers may settle the same node"


def _check_order(setting: Setting, nodes: dict[int, NodeModel], at: int, node: NodeModel) -> None:
    if setting.shape.is_undo(at):
        check_undo(setting.shape, nodes, at, node)
        return
    if setting.shape.trigger(at).hook:
        _check_hook(setting, nodes, at, node)
        return
    states = [nodes[parent].state if parent in nodes else "waiting" for parent in setting.shape.parents[max(at, 0)]]
    if node.state in ("skipped", "upstream_failed"):
        assert set(states) & (ENDED - {"succeeded"}), f"node {at} was left out though nothing failed"
        is_blamed = node.state == "skipped" or bool(set(states) & {"failed", "upstream_failed"})
        assert is_blamed, f"node {at} is upstream_failed though nothing failed"
    else:
        assert set(states) <= {"succeeded"}, f"node {at} began before what it needs had succeeded"


def _check_hook(setting: Setting, nodes: dict[int, NodeModel], at: int, node: NodeModel) -> None:
    """It hears of nothing that has not ended, and runs after nothing that it does not ask for."""
    shape, hook = setting.shape, setting.shape.trigger(at).hook
    observed = shape.parents[at] or [each for each in range(shape.undo_base) if each not in shape.flow_hooks]
    assert all(each in nodes and nodes[each].ended for each in observed), f"hook {at} was told too early"
    if shape.parents[at] and hook and node.state != "skipped":
        end = NodeState(nodes[observed[0]].state)
        assert fate_after(hook, end) is NodeState.READY, f"hook {at} runs though its node is {end}"
