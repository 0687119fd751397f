"""What random lives are made of, and what the reference model expects in Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import OnFailure
from taskmesh.model.hooks import Hook
from taskmesh.model.triggers import Rule, Trigger
from taskmesh.wire import pack
from tests.model.answers import CONTEXT
from tests.model.lab import BY_HAND_OUTPUT, INHERITED_OUTPUT, output_of
from tests.model.reference import RunModel
from tests.model.shape import BEFORE_HOOKS, ROOT, Shape
from tests.model.steering import BY_HAND, INHERITED
from tests.model.stored import POOLS

SLICE = 2
"""How many dependents one script tells here, so that small graphs are told in several scripts."""


LONGEST_DELAY_SECONDS = 50.0

OUTPUTS = {BY_HAND: BY_HAND_OUTPUT, INHERITED: INHERITED_OUTPUT}
"""What a node has given back that did not run."""


def _shape(
    nodes: list[tuple[set[int], str]], undoable: set[int], rules: list[Trigger | None], hooks: list[tuple[int, Hook]]
) -> Shape:
    """Hooks come last, each of the node at its place; of the flow, where there is none."""
    parents = tuple(
        tuple(sorted({min(parent, at - 1) for parent in needs if at})) for at, (needs, _) in enumerate(nodes)
    )
    places = range(len(nodes))
    triggers = {
        at: _fitting(wish, parents[at]) for at, wish in zip(places, rules, strict=False) if wish and parents[at]
    }
    triggers |= {at: Trigger(hook=hook) for at, (_, hook) in enumerate(hooks, len(nodes))}
    observed = tuple((of,) if of in places else () for of, _ in hooks)
    pools = (*(pool for _, pool in nodes), *(POOLS[of % 2] for of, _ in hooks))
    return Shape((*parents, *observed), pools, SLICE, frozenset(undoable & set(places)), triggers)


def _fitting(wish: Trigger, parents: tuple[int, ...]) -> Trigger:
    """The rule for so many parents; an expression, written over places of parents, names those that are there."""
    if wish.depends:
        return Trigger(depends=wish.depends.format(*(f"n{parents[at % len(parents)]}" for at in range(3))))
    return Trigger(wish.rule, 1 + wish.count % len(parents)) if wish.rule is Rule.N_OF else wish


def _nodes(needs: st.SearchStrategy[set[int]], fewest: int) -> st.SearchStrategy[list[tuple[set[int], str]]]:
    return st.lists(st.tuples(needs, st.sampled_from(POOLS)), min_size=fewest, max_size=8)


mixed = _nodes(st.sets(st.integers(0, 6), max_size=3), 1)
wide = _nodes(st.sampled_from(({0}, {0}, {0}, {0, 1}, {6})), 6)
undoables = st.one_of(st.just(set[int]()), st.sets(st.integers(0, 7), min_size=1), st.just(set(range(8))))
rules = st.sampled_from(
    [
        *(Trigger(rule) for rule in Rule if rule is not Rule.ALL_SUCCESS),
        Trigger(Rule.N_OF, 1),
        Trigger(depends="{0}.done && {1}.done && {2}.done && !({0}.skipped || {1}.failed)"),
        Trigger(depends="{0}.failed || {1}.succeeded && !{2}.skipped"),
    ]
)
plain_or_ruled: st.SearchStrategy[list[Trigger | None]] = st.one_of(
    st.just([]), st.just([]), st.lists(st.one_of(st.none(), rules), min_size=8, max_size=8)
)
hooks = st.one_of(
    st.just([]), st.just([]), st.lists(st.tuples(st.integers(0, 11), st.sampled_from(Hook)), min_size=1, max_size=3)
)
shapes = st.builds(_shape, st.one_of(mixed, wide), undoables, plain_or_ruled, hooks)
outcomes = st.sampled_from(("succeeded", "succeeded", "succeeded", "failed", "failed", "cancelled", "skipped"))
picks = st.integers(0, 99)
deadlines = st.sampled_from((None, None, 5.0, LONGEST_DELAY_SECONDS))
delays = st.sampled_from((0.0, 1.0, LONGEST_DELAY_SECONDS))
behind = st.sampled_from((0, 0, 0, 0, 0, 1, 2, -1))
times = st.sampled_from((1, 1, 2))
"""A call whose reply was lost is made again."""


@dataclass
class Run:
    """One run, three times: its graph, its model, what both must hold it to. A fork also has what it inherits."""

    plan: Plan
    model: RunModel
    digest: bytes
    inherits: tuple[int, ...] = ()
    history: dict[str, Any] = field(default_factory=dict)

    @property
    def fail_fast(self) -> bool:
        return self.plan.flow.on_failure is not OnFailure.CONTINUE

    @property
    def compensates(self) -> bool:
        return self.plan.flow.on_failure is OnFailure.COMPENSATE and self.plan.undo_base is not None


def projection(model: RunModel) -> dict[str, Any]:
    """What must be stored of a run that is as the model says."""
    nodes, shape, end = model.nodes, model.shape, model.kept_end
    joins = {at: model.arrived(at) for at in shape.places if model.is_counted(at)}
    missed = {(group, at): model.missing(group, at) for at in model.places for group in ("failed", "skipped")}
    return {
        "context": CONTEXT,
        "undos": model.undos,
        "compensation": model.compensation,
        "blocked": model.blocked,
        "hooks": 0 if BEFORE_HOOKS in nodes else len(shape.flow_hooks),
        "status": model.status,
        "remaining": model.remaining,
        "halt": model.halt,
        "failed_node": model.failed_node,
        "nodes": {
            at: (
                node.state,
                node.attempt,
                node.token,
                node.holder,
                -1 if model.has_told_all(at) else node.told,
                node.cause,
                node.retries,
                node.past,
                node.let_begin,
            )
            for at, node in nodes.items()
        },
        "arrived": {at: count for at, count in joins.items() if count},
        "missed": {key: count for key, count in missed.items() if count and shape.counts(key[1])},
        "outputs": {
            at: OUTPUTS[node.cause] if node.cause in OUTPUTS else output_of(node.token)
            for at, node in nodes.items()
            if at >= 0 and node.state == "succeeded"
        }
        | ({BEFORE_HOOKS: pack([end[0], False if end[1] is None else end[1]])} if end else {}),
        "errors": {at: node.error for at, node in nodes.items() if node.error}
        | ({BEFORE_HOOKS: end[2]} if end else {}),
        "paused": model.paused,
        "deadline": model.deadline,
        "checkpoints": model.checkpoints,
        "seen": model.seen,
        "signals": {at: (id_, b"payload of " + id_.encode()) for at, id_ in model.signals.items()},
        "altered": model.altered,
        "failures": model.failures,
        "begun": model.begun if model.has_begun_more else 0,
        "remembered": model.remembered,
        "parent": model.parent,
        "heard": model.news,
        "expires": model.has_ended,
    }


def pick_node(model: RunModel, pick: int, *states: str) -> int:
    """A node of the run; most of the time one that is due, and in one of ``states`` where some are given."""
    wanted = [at for at in sorted(model.outbox) if not states or model.nodes[at].state in states]
    everything = [*model.shape.places, ROOT]
    choice = wanted if wanted and pick < 75 else everything
    return choice[pick % len(choice)]


def holder_of(model: RunModel, node: int) -> str:
    return model.nodes[node].holder if node in model.nodes else ""


def token_of(model: RunModel, node: int) -> int:
    return model.nodes[node].token if node in model.nodes else 1
