"""The runs of a simulation and the user code in them: which graph, what each node does, what must come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from taskmesh.dispatch.plan import UNDO_PREFIX, Plan
from taskmesh.model.breakers import BreakerRules, Guard
from taskmesh.model.depends import WORDS
from taskmesh.model.flow import Compensation, Flow, Node, OnFailure
from taskmesh.model.hooks import Hook, hook_name
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits, Wait
from taskmesh.model.subflows import ChildStep
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.store.family import Parent
from tests.simulation.children import with_children
from tests.simulation.choosing import with_choices
from tests.simulation.fate import chance_of
from tests.simulation.waiting import PlannedSignal, planned_signals, with_waits

POOLS = ("default", "other")
ALWAYS = 99
LIMIT_SECONDS = 3.0
MAX_DELAY_SECONDS = 10.0
GUARD = Guard(BreakerRules("dependency", failures=1, reset_seconds=3.0, ramp_seconds=1.0))
"""Behind one breaker: whatever leans on the one thing that fails here."""
MOST_WAIT_SECONDS = GUARD.rules.reset_seconds + GUARD.rules.ramp_seconds + 5.0
"""For a probe that comes, or whose process dies with the permission."""

MOST_NAMED = 3
"""How many nodes one expression names at most: what is certain of it is found by trying all of their ends."""

UNDOES_NOTHING = (OnFailure.FAIL_FAST, OnFailure.CONTINUE)


class Shape(StrEnum):
    """A kind of graph."""

    SINGLE = "single"
    CHAIN = "chain"
    DIAMOND = "diamond"
    WIDE = "wide"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Conduct:
    """What the code of one node does: how long it takes, how many of its first executions fail, or kill the executor.

    ``seconds`` beyond the node's time limit mean that it is killed each time.
    """

    seconds: float
    failures: int = 0
    crashes: int = 0


@dataclass(slots=True)
class PlannedRun:
    """A run that will be submitted."""

    run_id: str
    plan: Plan
    conducts: dict[str, Conduct]
    submitted_at: float
    wishes: list[tuple[str, float]]
    """What people want of it: a verb, and when."""
    signals: list[PlannedSignal]
    is_accepted: bool = False
    is_calm: bool = False
    parent: Parent | None = None
    ends_with_parent: bool = True
    outlasts_halt: bool = False
    """It is a child of a node that no halt of its run concerns."""


@dataclass(slots=True)
class Executions:
    """Which user code ran, and how often."""

    times: Counter[tuple[str, str]] = field(default_factory=Counter)
    crashed: Counter[tuple[str, str]] = field(default_factory=Counter)


def plan_runs(seed: int, count: int, seconds: float, calm: bool = False) -> list[PlannedRun]:
    """Draw the runs of one simulation; they are submitted within ``seconds``."""
    return [_plan_run(seed, f"run-{number}", seconds, calm) for number in range(count)]


def plan_child(seed: int, run_id: str, plan: Plan, parent: Parent, node: Node, above: PlannedRun) -> PlannedRun:
    """What befalls a run that a ``node`` of the run ``above`` has begun; times are counted from then."""
    assert isinstance(node.step, ChildStep)
    conducts = _conducts(seed, run_id, plan.flow, above.is_calm)
    run = PlannedRun(run_id, plan, conducts, 0.0, [], [], True, above.is_calm, parent, node.step.ends_with_parent)
    run.outlasts_halt = node.trigger.runs_always
    if above.is_calm:
        return run
    chance = chance_of(seed, run_id, "child")
    run.wishes = [(verb, chance.uniform(0, 10.0)) for verb in ("cancel", "terminate") if chance.random() < 0.05]
    run.signals = planned_signals(chance, plan.flow.nodes, 0.0, 10.0) if chance.random() < 0.5 else []
    return run


def _plan_run(seed: int, run_id: str, seconds: float, calm: bool) -> PlannedRun:
    flow = _flow(seed, run_id, calm)
    wishes = [] if calm else _wishes(chance_of(seed, run_id, "wishes"), seconds)
    submitted_at = chance_of(seed, run_id, "submission").uniform(0, seconds)
    conducts = _conducts(seed, run_id, flow, calm)
    signals = planned_signals(chance_of(seed, run_id, "signals"), flow.nodes, submitted_at, seconds / 2)
    return PlannedRun(run_id, Plan.of(flow), conducts, submitted_at, wishes, signals, is_calm=calm)


def _flow(seed: int, run_id: str, calm: bool) -> Flow:
    chance = chance_of(seed, run_id, "flow")
    parents = _parents(chance, chance.choice(list(Shape)))
    pools = POOLS if chance.random() < 0.3 else POOLS[:1]
    nodes = tuple(_node(chance, at, needs, chance.choice(pools), calm) for at, needs in enumerate(parents))
    nodes = _with_rules(chance_of(seed, run_id, "rules"), nodes)
    nodes = with_choices(chance_of(seed, run_id, "choices"), nodes)
    nodes = nodes if calm else with_waits(chance_of(seed, run_id, "waits"), nodes)
    # Of all runs of a simulation alike: where many lean on the same thing, their processes try it at the same time.
    leaning = chance_of(seed, "leaning").choice((0.0, 0.3, 0.9))
    nodes = _with_guards(chance_of(seed, run_id, "guards"), nodes, leaning)
    nodes = _with_undos(chance_of(seed, run_id, "undos"), nodes, pools)
    nodes = with_children(chance_of(seed, run_id, "children"), nodes, calm)
    nodes = _with_hooks(chance_of(seed, run_id, "hooks"), nodes, pools)
    policies = list(OnFailure) if any(node.compensation for node in nodes) else UNDOES_NOTHING
    return Flow("flow", "1", nodes, on_failure=chance.choice(policies), shard_by=chance.choice(("run", "node")))


def _conducts(seed: int, run_id: str, flow: Flow, calm: bool) -> dict[str, Conduct]:
    chance = chance_of(seed, run_id, "conducts")
    slow = chance.choice((0.05, 0.05, 5.0, 30.0))
    troubled = not calm and (chance.random() < 0.4 or any(node.guard for node in flow.nodes))
    undos = [f"{UNDO_PREFIX}{node.name}" for node in flow.nodes if node.compensation]
    return {name: _conduct(chance, slow, troubled) for name in [*(node.name for node in flow.nodes), *undos]}


def _with_rules(chance: Random, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    if chance.random() >= 0.4:
        return nodes
    return tuple(_with_rule(chance, node) if node.needs and chance.random() < 0.6 else node for node in nodes)


def _with_rule(chance: Random, node: Node) -> Node:
    # One that may begin while others still run is given nothing of theirs: when they end is not for sure.
    return replace(node, args={}, trigger=_trigger(chance, node.needs))


def _trigger(chance: Random, needs: Sequence[str]) -> Trigger:
    if len(needs) <= MOST_NAMED and chance.random() < 0.3:
        return Trigger(depends=chance.choice((" && ", " || ")).join(_term(chance, name) for name in needs))
    rule = chance.choice(list(Rule))
    return Trigger(rule, chance.randint(1, len(needs)) if rule is Rule.N_OF else 0)


def _term(chance: Random, name: str) -> str:
    return f"{chance.choice(('', '!'))}{name}.{chance.choice(WORDS)}"


def _with_guards(chance: Random, nodes: tuple[Node, ...], leaning: float) -> tuple[Node, ...]:
    if chance.random() >= leaning:
        return nodes
    return tuple(replace(node, guard=GUARD) if node.task and chance.random() < 0.6 else node for node in nodes)


def _with_undos(chance: Random, nodes: tuple[Node, ...], pools: tuple[str, ...]) -> tuple[Node, ...]:
    if chance.random() >= 0.5:
        return nodes
    return tuple(_with_undo(chance, node, pools) if node.task and chance.random() < 0.7 else node for node in nodes)


def _with_undo(chance: Random, node: Node, pools: tuple[str, ...]) -> Node:
    retry = _retry(chance) if chance.random() < 0.6 else None
    return replace(node, compensation=Compensation("task", chance.choice(pools), retry))


def _with_hooks(chance: Random, nodes: tuple[Node, ...], pools: tuple[str, ...]) -> tuple[Node, ...]:
    """Some nodes have hooks, and so may the flow; they come last."""
    if chance.random() >= 0.4:
        return nodes
    observed = [node.name for node in nodes if chance.random() < 0.3] + [""] * (chance.random() < 0.7)
    hooks = [(name, hook) for name in observed for hook in Hook if chance.random() < 0.5]
    return (*nodes, *(_hook(chance, name, hook, pools) for name, hook in hooks))


def _hook(chance: Random, observed: str, hook: Hook, pools: tuple[str, ...]) -> Node:
    retry = _retry(chance) if chance.random() < 0.4 else None
    needs, trigger = ((observed,) if observed else ()), Trigger(hook=hook)
    return Node(hook_name(hook, observed), "task", {}, needs, chance.choice(pools), retry, trigger=trigger)


def _wishes(chance: Random, seconds: float) -> list[tuple[str, float]]:
    verbs = [verb for verb in ("cancel", "cancel and undo", "pause", "terminate") if chance.random() < 0.1]
    wishes = [(verb, chance.uniform(0, seconds)) for verb in verbs]
    return wishes + [("resume", at + chance.uniform(0.1, 20.0)) for verb, at in wishes if verb == "pause"]


def _node(chance: Random, at: int, needs: tuple[int, ...], pool: str, calm: bool) -> Node:
    # Some of what a node needs is handed to it, the rest only has to be over.
    args = {f"a{each}": f"${{nodes.n{each}.output}}" for each in needs if chance.random() < 0.7}
    retry = _retry(chance) if chance.random() < 0.4 else None
    limits = TimeLimits(start_to_close=LIMIT_SECONDS) if not calm and chance.random() < 0.1 else NO_LIMITS
    needed = tuple(f"n{each}" for each in needs)
    return Node(f"n{at}", "task", args=args, needs=needed, pool=pool, retry=retry, limits=limits)


def _retry(chance: Random) -> RetryPolicy:
    wait = chance.choice((Wait.FIXED, Wait.EXPONENTIAL))
    return RetryPolicy(chance.randint(2, 4), wait, chance.choice((0.0, 0.2, 5.0)), MAX_DELAY_SECONDS)


def _conduct(chance: Random, slow: float, troubled: bool) -> Conduct:
    seconds = chance.uniform(0.001, slow)
    if not troubled:
        return Conduct(seconds)
    return Conduct(seconds, chance.choice((0, 0, 0, 1, 2, ALWAYS)), chance.choice((0, 0, 0, 0, 1, 2, ALWAYS)))


def _parents(chance: Random, shape: Shape) -> list[tuple[int, ...]]:
    size = chance.randint(2, 7)
    if shape is Shape.SINGLE:
        return [()]
    if shape is Shape.CHAIN:
        return [(), *((at - 1,) for at in range(1, size))]
    if shape is Shape.DIAMOND:
        return [(), *[(0,)] * size, tuple(range(1, size + 1))]
    if shape is Shape.WIDE:
        return [()] * size + [tuple(range(size))]
    return [tuple(sorted(chance.sample(range(at), chance.randint(0, min(at, 3))))) for at in range(size)]
