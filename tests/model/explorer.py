"""Every state that a small run can reach with two workers, a keeper and a broker that may do their worst.

Breadth first, over the reference model. Tokens and attempts grow without bound, so a state keeps of each token only
whether it is still the node's; that is all that the scripts ask of it. Of messages it keeps which nodes have one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.answers import RUN_HALTED
from tests.model.reference import ENDED, NodeModel, RunModel
from tests.model.shape import Shape
from tests.model.undoing import NOTHING, check_undo

FAULTS = frozenset(
    {"cancel", "pause", "terminate", "crash", "duplicate", "lose", "lose a timer", "lapse", "keeper dies"}
)
"""What need not happen for a run to end."""

KEEPER = "keeper"
"""Who claims what is left of halted runs, and never has a lease."""

Nodes = tuple[tuple[int, NodeModel], ...]


class Doing(NamedTuple):
    """What a worker does with its message: run the node, go on telling from a slice, or publish what is ready."""

    step: str
    node: int
    slice: int = 0
    ready: tuple[int, ...] = ()
    current: bool = True


REFUSED = frozenset({"ended", "ending", "running", "preparing"})
"""Answers to people who wished for something that cannot be, or is so already."""


class World(NamedTuple):
    """One state. ``workers`` are (holder, doing); ``crashes`` says how many may still happen."""

    nodes: Nodes
    halt: str
    failed_node: int | None
    messages: frozenset[int]
    workers: tuple[tuple[str, Doing | None], ...]
    living: frozenset[str]
    crashes: int
    timers: frozenset[int] = frozenset()
    paused: str = ""
    left: frozenset[int] | None = None
    undos: str = ""
    compensation: int | None = None
    blocked: frozenset[tuple[int, str]] = frozenset()


class Move(NamedTuple):
    name: str
    after: World


@dataclass(frozen=True)
class Setting:
    """What is explored: the graph, the nodes whose code fails, how often a process may die, whether a user cancels.

    With ``compensates``, a failure or a cancelling has undone what can be undone; a user begins undoing again so often
    as ``begins_again`` says, and no undo in ``failing`` fails the last time.

    With ``steered``, somebody pauses, resumes and terminates it.
    The first attempt of the nodes in ``retrying`` fails; when the next one is due is not said, it may be at any time.
    The other faults may strike at any time, again and again.
    """

    shape: Shape
    failing: frozenset[int]
    fail_fast: bool = False
    crashes: int = 1
    cancels: bool = False
    retrying: frozenset[int] = frozenset()
    steered: bool = False
    compensates: bool = False
    begins_again: int = 0
    model: type[RunModel] = RunModel
    keeper: bool = True


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


def explore(setting: Setting, check: Callable[[Setting, World, World], None]) -> Found:
    """Visit every state; ``check`` is called with both sides of every move."""
    first = _start(setting)
    found, queue = Found({first: []}), deque([first])
    while queue:
        world = queue.popleft()
        if _is_end(setting, world):
            found.ends.append(world)
        for move in moves(setting, world):
            found.moves += 1
            check(setting, world, move.after)
            if move.after not in found.before:
                found.before[move.after] = []
                queue.append(move.after)
            if move.name not in FAULTS:
                found.before[move.after].append(world)
    return found


def moves(setting: Setting, world: World) -> Iterator[Move]:
    """Everything that can happen next."""
    for at in range(len(world.workers)):
        yield from _moves_of_worker(setting, world, at)
    yield from _moves_of_keeper(setting, world)
    yield from _moves_of_timers(setting, world)
    yield from _moves_of_people(setting, world)
    yield from _moves_of_undoing(setting, world)
    yield from _moves_of_network(world)
    yield from _moves_of_leases(world)


def _moves_of_people(setting: Setting, world: World) -> Iterator[Move]:
    """A run is cancelled, or paused and resumed by somebody who publishes nothing, or terminated."""
    wishes = (("cancel",) if setting.cancels else ()) + (("pause", "resume", "terminate") if setting.steered else ())
    for wish in wishes:
        run = run_of(setting, world)
        answer = run.halt_with("cancelled", setting.compensates) if wish == "cancel" else getattr(run, wish)()
        if answer.word not in REFUSED:
            yield Move(wish, _stored(world, run))


def _moves_of_undoing(setting: Setting, world: World) -> Iterator[Move]:
    """The user who begins undoing again dies at once, which is the worst that can happen."""
    run = run_of(setting, world)
    if run.status == "compensation_failed" and run.walk <= setting.begins_again:
        run.compensate()
        yield Move("compensate", _stored(world, run))


def _moves_of_worker(setting: Setting, world: World, at: int) -> Iterator[Move]:
    holder, doing = world.workers[at]
    if doing is None:
        for node in sorted(world.messages):
            yield from _receive(setting, world, at, node)
        return
    yield Move(doing.step, STEPS[doing.step](setting, world, at, doing))
    copied = world._replace(messages=world.messages | {doing.node})
    yield Move("duplicate", copied)
    if world.crashes:
        # Another process takes its place; what the dead one holds stays its own until its lease is over.
        heir = f"{holder}'"
        crashed = _with_worker(copied, at, heir, None)
        yield Move("crash", crashed._replace(living=world.living | {heir}, crashes=world.crashes - 1))


def _receive(setting: Setting, world: World, at: int, node: int) -> Iterator[Move]:
    holder = world.workers[at][0]
    run = run_of(setting, world)
    answer = run.claim(node, run.nodes[node].token, holder, world.living)
    if answer.word == "held":
        return
    taken = _stored(world, run)._replace(messages=world.messages - {node})
    if answer.word == "claimed":
        yield Move("claim", _doing(taken, at, Doing("settle", node)))
    elif answer.word == "ended" and answer.numbers != (-1,):
        yield Move("resume", _doing(taken, at, Doing("tell", node)))
    else:
        yield Move("ack", taken)


def _settle(setting: Setting, world: World, at: int, doing: Doing) -> World:
    run = run_of(setting, world)
    node, holder = run.nodes[doing.node], world.workers[at][0]
    if not run.is_halted and doing.node in setting.retrying and not node.retries:
        run.retry(doing.node, node.token - (not doing.current), 0.0, holder)
        return _doing(_stored(world, run), at, None)
    state = "cancelled" if run.is_halted else "failed" if _fails(setting, run, doing.node) else "succeeded"
    token = node.token - (not doing.current)
    halts = state == "failed" and setting.fail_fast and not run.shape.is_undo(doing.node)
    answer = run.settle(doing.node, token, state, "failed" if halts else "", holder, setting.compensates)
    if answer.word not in ("settled", "again"):
        return _doing(world, at, None)
    return _doing(_stored(world, run), at, _telling(run, Doing("tell", doing.node, 1, answer.ready)))


def _fails(setting: Setting, run: RunModel, node: int) -> bool:
    return node in setting.failing and (not setting.begins_again or run.walk <= setting.begins_again)


def _tell(setting: Setting, world: World, at: int, doing: Doing) -> World:
    """One slice of the node's dependents. Those of skipped nodes are left to the keeper: the worst that can happen."""
    run = run_of(setting, world)
    slices = run.shape.slices(doing.node)
    answer = run.spread(doing.node, slices[doing.slice])
    ready = tuple(sorted({*doing.ready, *answer.ready}))
    return _doing(_stored(world, run), at, _telling(run, doing._replace(slice=doing.slice + 1, ready=ready)))


def _telling(run: RunModel, doing: Doing) -> Doing:
    return doing if doing.slice < len(run.shape.slices(doing.node)) else doing._replace(step="publish")


def _publish(setting: Setting, world: World, at: int, doing: Doing) -> World:
    return _doing(world._replace(messages=world.messages | set(doing.ready)), at, None)


STEPS = {"settle": _settle, "tell": _tell, "publish": _publish}


def _moves_of_keeper(setting: Setting, world: World) -> Iterator[Move]:
    """The keeper may take any due node for lost; a node that nobody holds any more is published again."""
    for node in sorted(run_of(setting, world).outbox) if setting.keeper else ():
        run = run_of(setting, world)
        word = run.redrive(node, world.living).word
        if word == "settled":
            yield Move("forget", _stored(world, run))
        elif word == "redrive":
            yield Move("redrive", _stored(world, run)._replace(messages=world.messages | {node}))
        elif word == "retrying" and node not in world.timers:
            yield Move("set a timer again", _stored(world, run))


def _moves_of_timers(setting: Setting, world: World) -> Iterator[Move]:
    for timer in sorted(world.timers):
        yield Move("lose a timer", world._replace(timers=world.timers - {timer}))
        for node in sorted(run_of(setting, world).retrying if timer == RUN_HALTED else {timer}):
            run = run_of(setting, world)
            woken = {node} if run.wake(node).word == "woken" else set()
            yield Move("wake", _stored(world, run)._replace(messages=world.messages | woken))
        if timer == RUN_HALTED:
            yield from _moves_of_halt(setting, world)


def _moves_of_halt(setting: Setting, world: World) -> Iterator[Move]:
    """The keeper ends what can start of a halted run; it may die between claim and end, and after each end."""
    run = run_of(setting, world)
    if not run.is_halted:
        yield Move("forget a halt", world._replace(timers=world.timers - {RUN_HALTED}))
        return
    for node in sorted(run.nodes):
        run = run_of(setting, world)
        if run.nodes[node].state not in ("ready", "running"):
            continue
        answer = run.claim(node, run.nodes[node].token, KEEPER, world.living)
        if answer.word == "claimed":
            if world.crashes:
                yield Move("keeper dies", _stored(world, run)._replace(crashes=world.crashes - 1))
            run.settle(node, answer.numbers[1], "cancelled", "", KEEPER)
            yield Move("end", _stored(world, run))


def _moves_of_network(world: World) -> Iterator[Move]:
    for node in sorted(world.messages):
        yield Move("lose", world._replace(messages=world.messages - {node}))


def _moves_of_leases(world: World) -> Iterator[Move]:
    """The lease of a dead process ends, that of a sleeping one may, and one that wakes up renews it."""
    here = {holder for holder, _ in world.workers}
    for holder in sorted(world.living - here):
        yield Move("end of a lease", world._replace(living=world.living - {holder}))
    for holder in sorted(here - world.living):
        yield Move("renew", world._replace(living=world.living | {holder}))
    for holder in sorted(here & world.living):
        yield Move("lapse", world._replace(living=world.living - {holder}))


def _start(setting: Setting) -> World:
    run = setting.model(setting.shape)
    holders = ("a", "b")
    workers = tuple((each, None) for each in holders)
    return World(_frozen(run), "", None, frozenset(run.outbox), workers, frozenset(holders), setting.crashes)


def _is_end(setting: Setting, world: World) -> bool:
    run = run_of(setting, world)
    return run.has_ended and not run.outbox and not run.timers


def run_of(setting: Setting, world: World) -> RunModel:
    """The run as it is stored in a state."""
    run = object.__new__(setting.model)
    run.shape, run.halt, run.failed_node, run.nodes = setting.shape, world.halt, world.failed_node, dict(world.nodes)
    run.undos, run.compensation, run.blocked = world.undos, world.compensation, dict(world.blocked)
    run.now, run.timers = 0.0, dict.fromkeys(world.timers, 0.0)
    run.paused, run.left = world.paused, None if world.left is None else set(world.left)
    run.checkpoints, run.deadline = {}, None
    run.remembered = []
    return run


def _stored(world: World, run: RunModel) -> World:
    """The world with this run in it, its tokens counted from 1 again; who held an older one knows only that.

    A message for a node that is done with would only be acked; it is left out.
    """
    before = dict(world.nodes)
    passed = {at for at, node in run.nodes.items() if at in before and node.token != before[at].token}
    workers = tuple(
        (holder, doing._replace(current=False) if doing and doing.step == "settle" and doing.node in passed else doing)
        for holder, doing in world.workers
    )
    due = world.messages & run.outbox
    kept = world._replace(nodes=_frozen(run), halt=run.halt, failed_node=run.failed_node, workers=workers, messages=due)
    kept = kept._replace(timers=frozenset(run.timers))
    blocked = frozenset(run.blocked.items())
    left = None if run.left is None else frozenset(run.left)
    kept = kept._replace(paused=run.paused, left=left)
    return kept._replace(undos=run.undos, compensation=run.compensation, blocked=blocked)


def _frozen(run: RunModel) -> Nodes:
    """The records without what no script asks for any more."""
    return tuple(sorted((at, _plain(node)) for at, node in run.nodes.items()))


def _plain(node: NodeModel) -> NodeModel:
    if node.ended:
        return NodeModel(node.state, told=node.told, cause=node.cause if node.cause == NOTHING else "", walk=node.walk)
    return NodeModel(node.state, holder=node.holder, retries=node.retries, walk=node.walk)


def _doing(world: World, at: int, doing: Doing | None) -> World:
    return _with_worker(world, at, world.workers[at][0], doing)


def _with_worker(world: World, at: int, holder: str, doing: Doing | None) -> World:
    workers = list(world.workers)
    workers[at] = (holder, doing)
    return world._replace(workers=tuple(workers))


def check_move(setting: Setting, before: World, after: World) -> None:
    """What no move may break."""
    then, now = dict(before.nodes), dict(after.nodes)
    for at, node in then.items():
        begun_again = now[at].walk > node.walk and node.state != "succeeded"
        if node.state in ENDED and not begun_again:
            assert now[at].state == node.state, f"node {at} ended twice"
    for at, node in now.items():
        _check_order(setting, now, at, node)
    held = [doing.node for _, doing in after.workers if doing and doing.step == "settle" and doing.current]
    assert len(held) == len(set(held)), "two workers may settle the same node"


def _check_order(setting: Setting, nodes: dict[int, NodeModel], at: int, node: NodeModel) -> None:
    if setting.shape.is_undo(at):
        check_undo(setting.shape, nodes, at, node)
        return
    states = [nodes[parent].state if parent in nodes else "waiting" for parent in setting.shape.parents[max(at, 0)]]
    if node.state == "skipped":
        assert set(states) & (ENDED - {"succeeded"}), f"node {at} was skipped though nothing failed"
    else:
        assert set(states) <= {"succeeded"}, f"node {at} began before what it needs had succeeded"
