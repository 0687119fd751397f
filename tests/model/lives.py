"""What random lives are made of, and what the reference model expects in Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from taskmesh.dispatch.plan import Plan
from tests.model.lab import BY_HAND_OUTPUT, POOLS, output_of
from tests.model.reference import RunModel
from tests.model.shape import ROOT, Shape
from tests.model.steering import BY_HAND

SLICE = 2
"""How many dependents one script tells here, so that small graphs are told in several scripts."""


LONGEST_DELAY_SECONDS = 50.0


def _shape(nodes: list[tuple[set[int], str]]) -> Shape:
    parents = tuple(
        tuple(sorted({min(parent, at - 1) for parent in needs if at})) for at, (needs, _) in enumerate(nodes)
    )
    return Shape(parents, tuple(pool for _, pool in nodes), SLICE)


def _nodes(needs: st.SearchStrategy[set[int]], fewest: int) -> st.SearchStrategy[list[tuple[set[int], str]]]:
    return st.lists(st.tuples(needs, st.sampled_from(POOLS)), min_size=fewest, max_size=8)


mixed = _nodes(st.sets(st.integers(0, 6), max_size=3), 1)
wide = _nodes(st.sampled_from(({0}, {0}, {0}, {0, 1}, {6})), 6)
shapes = st.one_of(mixed, wide).map(_shape)
outcomes = st.sampled_from(("succeeded", "succeeded", "failed", "cancelled"))
picks = st.integers(0, 99)
deadlines = st.sampled_from((None, None, 5.0, LONGEST_DELAY_SECONDS))
delays = st.sampled_from((0.0, 1.0, LONGEST_DELAY_SECONDS))
behind = st.sampled_from((0, 0, 0, 0, 0, 1, 2, -1))
times = st.sampled_from((1, 1, 2))
"""A call whose reply was lost is made again."""


@dataclass
class Run:
    """One run, three times: its graph, its model, what both must hold it to."""

    plan: Plan
    model: RunModel
    fail_fast: bool
    digest: bytes
    history: dict[str, Any] = field(default_factory=dict)


def projection(model: RunModel) -> dict[str, Any]:
    """What must be stored of a run that is as the model says."""
    nodes = model.nodes
    joins = {at: model.arrived(at) for at, parents in enumerate(model.shape.parents) if len(parents) > 1}
    return {
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
            )
            for at, node in nodes.items()
        },
        "arrived": {at: count for at, count in joins.items() if count},
        "outputs": {
            at: BY_HAND_OUTPUT if node.cause == BY_HAND else output_of(node.token)
            for at, node in nodes.items()
            if at != ROOT and node.state == "succeeded"
        },
        "errors": {at: node.error for at, node in nodes.items() if node.error},
        "paused": model.paused,
        "deadline": model.deadline,
        "checkpoints": model.checkpoints,
        "altered": model.altered,
        "remembered": model.remembered,
        "expires": model.status != "running",
    }


def pick_node(model: RunModel, pick: int, *states: str) -> int:
    """A node of the run; most of the time one that is due, and in one of ``states`` where some are given."""
    wanted = [at for at in sorted(model.outbox) if not states or model.nodes[at].state in states]
    everything = [*range(len(model.shape.parents)), ROOT]
    choice = wanted if wanted and pick < 75 else everything
    return choice[pick % len(choice)]


def token_of(model: RunModel, node: int) -> int:
    return model.nodes[node].token if node in model.nodes else 1
