"""The child runs of nodes that do not say at the moment which one they wait for.

A node that waits for a child run names it. Between its waits, when it is to look whether the child has ended, or is
taken up, it does not; in a run that is paused that may be for long. Its child has an id that follows from its record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from taskmesh.dispatch.children.inputs import Around
from taskmesh.dispatch.plan import Plan
from taskmesh.model.loops import Loop
from taskmesh.model.states import NodeState
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome
from taskmesh.store.reader import Reader
from taskmesh.store.records import NodeRecord

NODES_PER_READING = 2_000

_UNSAID = (NodeState.READY, NodeState.RUNNING)


def begun_runs(reader: Reader, plan: Plan, run_id: str) -> list[tuple[int, str]]:
    """The child runs that such nodes of a run have begun, or are about to, each with its node: some may not be there.

    :raises StoreUnavailableError: nothing is known.
    """
    places = [at for at in range(len(plan.flow.nodes)) if plan.begins_child(at)] if plan.begins_children else []
    found: list[tuple[int, str]] = []
    for page in _pages(places):
        records = reader.node_records([NodeKey(run_id, at) for at in page])
        found += begun_by(reader, plan, run_id, {at: each for at, each in zip(page, records, strict=True) if each})
    return found


def begun_by(reader: Reader, plan: Plan, run_id: str, records: Mapping[int, NodeRecord]) -> list[tuple[int, str]]:
    """As ``begun_runs``, of nodes whose records are known."""
    found: list[tuple[int, str]] = []
    for page in _pages([at for at, each in records.items() if each.state in _UNSAID and _begins(plan, at)]):
        heard = reader.run_fields(run_id, [f"child:{at}" for at in page])
        pairs = zip(page, heard, strict=True)
        children = [child_of(plan, NodeKey(run_id, at), records[at], news) for at, news in pairs]
        found += zip(page, children, strict=True)
    return found


def _pages(places: Sequence[int]) -> Iterator[Sequence[int]]:
    return (places[start : start + NODES_PER_READING] for start in range(0, len(places), NODES_PER_READING))


def _begins(plan: Plan, place: int) -> bool:
    return 0 <= place < len(plan.flow.nodes) and plan.begins_child(place)


def child_of(plan: Plan, key: NodeKey, record: NodeRecord, heard: bytes | None) -> str:
    """The child of a node: of a loop, the iteration after the one that it has heard of."""
    around = Around(record, Outcome.read(heard) if heard else None, {}, None, b"")
    step = plan.node(key.node).step
    most = step.max_iterations if isinstance(step, Loop) else 1
    last = around.turn(key, most)
    return around.child_id(key, 0 if last is None else min(last + 1, most - 1))
