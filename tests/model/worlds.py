"""The states of a small run in its surroundings: two workers, a broker, a keeper, and what may happen to them.

Tokens and attempts grow without bound, so a state keeps of each token only whether it is still the node's; that is all
that the scripts ask of it. Of messages it keeps which nodes have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.model.reference import NodeModel, RunModel
from tests.model.shape import TO_PARENT, Shape
from tests.model.steering import BY_HAND
from tests.model.undoing import NOTHING

RETRY = "retry"
"""What a reopened run is paused for here."""

SIGNAL = "one"
"""The only signal that comes for a node here."""

Nodes = tuple[tuple[int, NodeModel], ...]


class Doing(NamedTuple):
    """What a worker does with its message: run the node, go on telling from a slice, or publish what is ready.

    Of a node that waits for a signal it has ``heard`` one, or not, when it claimed the node.
    """

    step: str
    node: int
    slice: int = 0
    ready: tuple[int, ...] = ()
    current: bool = True
    heard: bool = False


class World(NamedTuple):
    """One state. ``workers`` are (holder, doing); ``crashes`` and ``reopens`` say how many may still happen."""

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
    altered: bool = False
    counts: frozenset[tuple[int, int]] = frozenset()
    reopens: int = 0
    reopened: bool = False
    forgotten: frozenset[int] = frozenset()
    unlisted: frozenset[int] = frozenset()
    begun: int = 0
    signals: frozenset[int] = frozenset()

    @property
    def is_prepared(self) -> bool:
        """Whether somebody is about to let an ended run go on."""
        return self.paused == RETRY


class Move(NamedTuple):
    name: str
    after: World


@dataclass(frozen=True)
class Setting:
    """What is explored: the graph, the nodes whose code fails, how often a process may die, whether a user cancels.

    With ``compensates``, a failure or a cancelling has undone what can be undone; a user begins undoing again so often
    as ``begins_again`` says, and no undo in ``failing`` fails the last time.

    With ``steered``, somebody pauses, resumes and terminates it; those in ``marked`` may be ended by hand; and an ended
    run is retried up to ``reopens`` times; without ``holds``, what the keeper has forgotten of it by then stays so.
    The first attempt of the nodes in ``retrying`` fails; when the next one is due is not said, it may be at any time.
    Those in ``waiting`` wait for a signal; with ``times_out``, that may take too long at any time, and they fail.
    A child has a ``parent``, which must be told its end.
    Without ``lapses``, no worker sleeps through its lease. The other faults may strike at any time, again and again.
    """

    shape: Shape
    failing: frozenset[int]
    fail_fast: bool = False
    crashes: int = 1
    cancels: bool = False
    retrying: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()
    times_out: bool = False
    steered: bool = False
    compensates: bool = False
    begins_again: int = 0
    marked: frozenset[int] = frozenset()
    reopens: int = 0
    holds: bool = True
    lapses: bool = True
    model: type[RunModel] = RunModel
    keeper: bool = True
    parent: str = ""


def start(setting: Setting) -> World:
    run = setting.model(setting.shape, parent=setting.parent)
    holders = ("a", "b")
    workers = tuple((each, None) for each in holders)
    first = World(_frozen(run), "", None, frozenset(run.outbox), workers, frozenset(holders), setting.crashes)
    return first._replace(reopens=setting.reopens, begun=run.begun)


def is_end(setting: Setting, world: World) -> bool:
    run = run_of(setting, world)
    is_told = TO_PARENT in run.nodes and run.has_told_parent()
    return run.has_ended and not run.outbox and not run.timers and (is_told or not setting.parent)


def run_of(setting: Setting, world: World) -> RunModel:
    """The run as it is stored in a state."""
    run = object.__new__(setting.model)
    run.shape, run.halt, run.failed_node, run.nodes = setting.shape, world.halt, world.failed_node, dict(world.nodes)
    run.undos, run.compensation, run.blocked = world.undos, world.compensation, dict(world.blocked)
    run.now, run.timers = 0.0, dict.fromkeys(world.timers, 0.0)
    run.paused, run.left = world.paused, None if world.left is None else set(world.left)
    run.checkpoints, run.seen, run.deadline = {}, {}, None
    run.remembered, run.kept_end = [], None
    run.altered, run.counts, run.reopened = world.altered, dict(world.counts), world.reopened
    run.forgotten, run.unlisted, run.begun = world.forgotten, world.unlisted, world.begun
    run.parent, run.told_life = setting.parent, 0 if TO_PARENT in run.nodes else -1
    run.signals = dict.fromkeys(world.signals, SIGNAL)
    return run


def stored(world: World, run: RunModel) -> World:
    """The world with this run in it, its tokens counted from 1 again; who held an older one knows only that.

    A message for a node that is done with would only be acked; it is left out.
    """
    before = dict(world.nodes)
    passed = {at for at, node in run.nodes.items() if at in before and node.token != before[at].token}
    workers = tuple(
        (holder, doing._replace(current=False) if doing and doing.step == "settle" and doing.node in passed else doing)
        for holder, doing in world.workers
    )
    return world._replace(
        nodes=_frozen(run),
        halt=run.halt,
        failed_node=run.failed_node,
        workers=workers,
        messages=world.messages & run.outbox,
        timers=frozenset(run.timers),
        paused=run.paused,
        left=None if run.left is None else frozenset(run.left),
        forgotten=run.forgotten,
        unlisted=run.unlisted,
        signals=frozenset(run.signals),
        altered=run.altered,
        counts=frozenset(run.counts.items()) if run.altered else frozenset(),
        reopened=run.reopened,
        undos=run.undos,
        compensation=run.compensation,
        blocked=frozenset(run.blocked.items()),
        begun=run.begun,
    )


def _frozen(run: RunModel) -> Nodes:
    """The records without what no script asks for any more."""
    return tuple(sorted((at, _plain(node)) for at, node in run.nodes.items()))


def _plain(node: NodeModel) -> NodeModel:
    if node.ended:
        cause = node.cause if node.cause in (NOTHING, BY_HAND) else ""
        return NodeModel(node.state, told=node.told, cause=cause, walk=node.walk, let_begin=node.let_begin)
    waits = node.let_begin if node.state == "waiting" else None
    return NodeModel(node.state, holder=node.holder, retries=node.retries, walk=node.walk, let_begin=waits)


def doing_next(world: World, at: int, doing: Doing | None) -> World:
    return with_worker(world, at, world.workers[at][0], doing)


def with_worker(world: World, at: int, holder: str, doing: Doing | None) -> World:
    workers = list(world.workers)
    workers[at] = (holder, doing)
    return world._replace(workers=tuple(workers))
