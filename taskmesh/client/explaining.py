"""What a run waits for: reads what is stored of it and around it, and has it put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from taskmesh.client.attempts import attempts_of, last_error
from taskmesh.client.causes import breaker_of, child_of
from taskmesh.client.details import place_of
from taskmesh.client.heard import Heard
from taskmesh.client.left_out import why_left_out
from taskmesh.client.parts import ClientParts
from taskmesh.client.run_reasons import UNFINISHED, run_commands, run_reasons
from taskmesh.dispatch.gates import Facts, evaluated, facts_in
from taskmesh.dispatch.plan import BEFORE_HOOKS, Plan
from taskmesh.errors import RunNotFoundError
from taskmesh.model.durations import duration_text
from taskmesh.model.explanation import (
    NO_ERROR,
    Circumstances,
    LastError,
    NodeExplanation,
    explain_node,
)
from taskmesh.model.next_event import NodeFacts
from taskmesh.model.states import NodeState, RunState
from taskmesh.model.waiting import AWAITING
from taskmesh.store.calls import NodeKey
from taskmesh.store.records import NodeRecord, RunSummary
from taskmesh.store.waits import Place, PoolRecord, Waits

SHOWN_NODES = 20
LOOKS = 3
"""A node may move on between two reads, and then seems to wait for nothing; so it is looked at again."""

TOLD_ALL = -1

START = "(start)"
"""What nodes that need none wait for, where they are too many to be made ready at once."""


@dataclass(frozen=True, slots=True)
class RunExplanation:
    """What a run waits for at ``at``, in epoch seconds of the store's clock.

    ``reasons`` are sentences about the run as a whole, ``commands`` what can be done about it, ``states`` how many
    nodes are in which state. ``nodes`` are the first of its unfinished nodes, what holds it up before what waits;
    ``unfinished`` counts them all.
    """

    run_id: str
    status: RunState
    at: float
    reasons: tuple[str, ...]
    commands: tuple[str, ...] = ()
    states: Mapping[str, int] = field(default_factory=dict)
    unfinished: int = 0
    nodes: tuple[NodeExplanation, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look at a run."""

    summary: RunSummary
    plan: Plan
    records: Mapping[int, NodeRecord]
    failed_node: int | None
    now: float
    error: LastError = NO_ERROR
    deadline: float | None = None

    def state(self, place: int) -> NodeState:
        """The state of a node; what it was doing when its run was terminated says nothing any more."""
        record, ended = self.records.get(place), self.summary.status.ended
        if record is None:
            return NodeState.SKIPPED if ended else NodeState.WAITING
        return NodeState.CANCELLED if ended and not record.state.ended else record.state

    @property
    def places(self) -> range:
        """Those of the nodes, or of their undos once the run is being undone."""
        count = len(self.plan.flow.nodes)
        return range(count, 2 * count) if self.summary.status is RunState.COMPENSATING else range(count)

    def name(self, place: int) -> str:
        return self.plan.name_of(place) if place >= 0 else START


class Explainer:
    """Reads; changes nothing. Safe in threads."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._waits = Waits(parts.store.link, parts.keys)
        self._heard = Heard(parts.reader, parts.large.value)

    def explain(self, run_id: str, node: str | None, limit: int | None) -> RunExplanation:
        """What the unfinished nodes of a run wait for, at most ``limit`` of them; or one node.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node.
        """
        for _ in range(LOOKS):
            seen = self._look(run_id)
            explanation = self._explain(seen, _chosen(seen, node, limit))
            if all(each.event or each.state.ended for each in explanation.nodes):
                break
        return explanation

    def _look(self, run_id: str) -> _Seen:
        now = self._waits.time()
        summaries = self._parts.reader.summaries([run_id])
        [flow_hash, failed, deadline] = self._parts.reader.run_fields(run_id, ("flow", "failed_node", "deadline"))
        plan = self._parts.plans.get(flow_hash.decode(), run_id) if flow_hash else None
        if not summaries or plan is None:
            raise RunNotFoundError(run_id)
        failed_node = int(failed) if failed is not None else None
        error = self._errors(run_id, [failed_node])[0] if failed_node is not None else NO_ERROR
        records = self._parts.reader.records_of_run(run_id)
        return _Seen(summaries[0], plan, records, failed_node, now, error, float(deadline) if deadline else None)

    def _explain(self, seen: _Seen, places: Sequence[int]) -> RunExplanation:
        summary = seen.summary
        states = Counter(seen.state(place) for place in seen.places)
        unfinished = sum(count for state, count in states.items() if not state.ended)
        return RunExplanation(
            run_id=summary.run_id,
            status=summary.status,
            at=seen.now,
            reasons=tuple(_run_reasons(seen, states)),
            commands=tuple(run_commands(summary)),
            states={str(state): count for state, count in states.items()},
            unfinished=0 if summary.status.ended else unfinished,
            nodes=tuple(self._nodes(seen, places)),
        )

    def _nodes(self, seen: _Seen, places: Sequence[int]) -> Iterator[NodeExplanation]:
        around = _Around.of(self._waits, seen, places)
        run_id, states = seen.summary.run_id, {place: seen.state(place) for place in places}
        heard = self._heard.reasons(seen.plan, run_id, states, seen.now)
        for place, error in zip(places, self._errors(run_id, places), strict=True):
            is_over = seen.summary.status.ended or states[place].ended
            facts = self._facts(seen, place) if is_over else None
            explained = _ended(seen, place, error, facts) if facts else around.explain(seen, place, error)
            yield explained.saying(heard.get(place, ()))

    def _facts(self, seen: _Seen, place: int) -> Facts:
        """What the conditions of a node have read, and the switch before it has said."""
        gate = seen.plan.inputs(place).gate if place >= 0 else None
        fields = [name for name in gate.fields if not name.startswith("node:")] if gate else []
        values = self._parts.reader.run_fields(seen.summary.run_id, fields) if fields else []
        states = {at: record.state for at, record in seen.records.items()}
        return facts_in(dict(zip(fields, values, strict=True)))._replace(states=states)

    def _errors(self, run_id: str, places: Sequence[int]) -> list[LastError]:
        """What the last attempt of each node that failed has said."""
        fields = self._parts.reader.run_fields(run_id, [f"error:{place}" for place in places]) if places else []
        return [last_error(packed) for packed in fields]


class _Around:
    """What stands around the nodes that are to be explained."""

    def __init__(
        self,
        places: Mapping[int, Place],
        leases: Mapping[str, float | None],
        pools: Mapping[str, PoolRecord],
        is_kept: bool,
    ) -> None:
        self._places = places
        self._leases = leases
        self._pools = pools
        self._is_kept = is_kept

    @classmethod
    def of(cls, waits: Waits, seen: _Seen, places: Sequence[int]) -> _Around:
        run_id = seen.summary.run_id
        here = {seen.records[place].holder for place in places if place in seen.records} - {""}
        pools = {place: seen.plan.pool_of(place) for place in places}
        stands = waits.places([(NodeKey(run_id, place), pool) for place, pool in pools.items()])
        return cls(
            dict(zip(pools, stands, strict=True)),
            waits.leases(run_id, sorted(here)),
            waits.pools(sorted(set(pools.values())), seen.now),
            waits.kept_until(run_id) > seen.now,
        )

    def explain(self, seen: _Seen, place: int, error: LastError) -> NodeExplanation:
        node = replace(seen.plan.node(place), name=seen.plan.name_of(place))
        record, pool = seen.records.get(place), self._pools[node.pool]
        needed = dict(_untold(seen, place)) if seen.state(place) is NodeState.WAITING else {}
        around = Circumstances(
            seen.now,
            pool.servers,
            pool.probed_at,
            self._is_kept,
            f"taskmesh resume {seen.summary.run_id}",
            needed,
        )
        return explain_node(node, self._facts(seen, place, tuple(needed)), attempts_of(record, error), around)

    def _facts(self, seen: _Seen, place: int, needs: tuple[str, ...]) -> NodeFacts:
        record, stand, summary = seen.records.get(place), self._places[place], seen.summary
        is_halted = bool(summary.halt) and summary.status is not RunState.COMPENSATING
        return NodeFacts(
            state=seen.state(place),
            ready_at=record.ready_at if record else 0.0,
            is_due=stand.due_at is not None,
            timer_at=stand.timer_at,
            lease_until=self._leases.get(record.holder) if record else None,
            needs=needs,
            breaker=breaker_of(record),
            child=child_of(record),
            is_held=summary.paused is not None and not is_halted,
            is_halted=is_halted,
            awaits_signal=record is not None and record.cause == AWAITING,
        )


def _chosen(seen: _Seen, node: str | None, limit: int | None) -> list[int]:
    if node is not None:
        return [place_of(seen.plan, seen.summary.run_id, node)]
    if seen.summary.status.ended:
        return []
    states = {place: seen.state(place) for place in seen.places}
    unfinished = [place for place, state in states.items() if not state.ended]
    return sorted(unfinished, key=lambda place: UNFINISHED.index(states[place]))[:limit]


def _run_reasons(seen: _Seen, states: Mapping[NodeState, int]) -> Iterator[str]:
    yield from run_reasons(seen.summary, states, seen.now)
    if seen.failed_node is not None:
        yield f"node {seen.name(seen.failed_node)!r} has failed first: {seen.error.text}"
    if seen.deadline is not None and not seen.summary.status.ended:
        left = seen.deadline - seen.now
        yield f"its deadline is in {duration_text(left)}" if left > 0 else "its deadline is over, so it is being ended"


def _untold(seen: _Seen, place: int) -> Iterator[tuple[str, NodeState]]:
    """The nodes that a waiting node needs and that have yet to end, or yet to tell their dependents of it."""
    tellers = seen.plan.tellers(place)
    if BEFORE_HOOKS in tellers and BEFORE_HOOKS not in seen.records:
        tellers = tellers[:-1]
    for parent in tellers:
        record = seen.records.get(parent)
        if record is None and seen.plan.flow.copies and parent >= 0:
            # It waits, too: for one that has begun.
            continue
        if record is None or not record.state.ended or record.spread != TOLD_ALL:
            yield seen.name(parent), seen.state(parent)


_LEFT_OUT = {NodeState.SKIPPED: "was skipped", NodeState.UPSTREAM_FAILED: "could not run"}


def _ended(seen: _Seen, place: int, error: LastError, facts: Facts) -> NodeExplanation:
    """A node that waits for nothing any more."""
    record, name, state = seen.records.get(place), seen.name(place), seen.state(place)
    if record is None or not record.state.ended:
        reason = f"did not come to its end before its run was {seen.summary.status}"
    elif record.passes:
        reason = "had nothing to undo"
    elif record.is_by_hand:
        reason = f"{state} {duration_text(seen.now - record.finished_at)} ago, {record.cause}"
    elif state in _LEFT_OUT:
        reason = f"{_LEFT_OUT[state]}: {why_left_out(seen.plan, place, record.cause, facts)}"
    elif record.is_inherited and seen.summary.forked_from is not None:
        reason = f"{state}: it is taken over from run {seen.summary.forked_from.run_id}"
    else:
        ago = duration_text(seen.now - record.finished_at)
        reason = f"{state} {ago} ago, with attempt {record.attempt}" + (f": {error.text}" if error.text else "")
    has_run = record is not None and record.attempt > 0 and not seen.plan.is_undo(place)
    conditions = evaluated(seen.plan.graph, place, facts) if has_run else ()
    return NodeExplanation(name, state, record.attempt if record else 0, reasons=(reason, *map(str, conditions)))
