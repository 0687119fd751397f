"""The invariants, computed after every experiment from what the clients, the tasks and the store say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from taskmesh.dispatch.plan import UNDO_PREFIX, Plan
from taskmesh.model.flow import OnFailure
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.records import RunRecord
from taskmesh.wire import unpack
from tests.nemesis.app import FAILS, TRIPS
from tests.nemesis.effects import BEGIN, END, Effect
from tests.nemesis.history import History
from tests.nemesis.ledger import Ledger
from tests.nemesis.recovery import LEASE_SECONDS
from tests.nemesis.undos import UndoAudit

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an experiment may cost, and what it is expected to leave behind.

    ``own_waits_seconds``: what passes after its last fault beside what every recovery may take, and user code.
    ``lease_seconds`` is that of its workers.
    ``losable`` runs may be gone, where the store itself forgets (``forgetful``: it has forgotten ends of nodes too, so
    that nodes ran again after their dependents); ``cancelled``: runs may have been; ``failing`` are
    tasks whose nodes must fail, ``undecided`` those whose nodes may, ``failing_undos`` those whose undos may.
    """

    duplicates_at_most: int = 0
    dead_letters_at_most: int = 0
    own_waits_seconds: float = 0.0
    lease_seconds: float = LEASE_SECONDS
    losable: frozenset[str] = frozenset()
    forgetful: bool = False
    cancelled: bool = False
    failing: frozenset[str] = frozenset({FAILS, TRIPS})
    undecided: frozenset[str] = frozenset()
    failing_undos: frozenset[str] = frozenset()


class Effects:
    """The effect log, indexed."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.begun = Counter(each.key for each in effects if each.event == BEGIN)
        self.ended: dict[tuple[str, str], list[Effect]] = defaultdict(list)
        self.of_undos: dict[str, list[Effect]] = defaultdict(list)
        for effect in effects:
            if effect.event == END:
                self.ended[effect.key].append(effect)
            if effect.node.startswith(UNDO_PREFIX):
                self.of_undos[effect.run_id].append(effect)

    @property
    def duplicates(self) -> int:
        """Executions beyond one of each node."""
        return self.begun.total() - len(self.begun)


class Checker:
    """Compares what was promised with what is there; every sentence that it gives is a broken promise."""

    def __init__(self, ledger: Ledger, history: History, effects: Sequence[Effect], bounds: Bounds) -> None:
        self._ledger = ledger
        self._history = history
        self._effects = Effects(effects)
        self._bounds = bounds
        self.committed = self.undone = 0
        """Nodes of runs that were undone: those that had to be, and those that were."""

    def violations(self) -> list[str]:
        found = [*self._runs(), *self._conserved(), *self._accounted(), *self._bounded()]
        counted = Counter(sentence.partition(":")[0] for sentence in found)
        shown = [next(each for each in found if each.startswith(kind)) for kind in counted]
        more = len(found) - len(shown)
        return [*shown[:SHOWN], *([f"and {more} more: {dict(counted)}"] if more else [])]

    def _runs(self) -> Iterator[str]:
        """I1, I2, I4, I6 of each run; a submit without an answer may have made one run, which must end too."""
        unknown = set(self._history.unknown)
        for run_id in [*self._history.accepted, *unknown]:
            record = self._ledger.reader.run(run_id)
            if record is not None:
                yield from self._run(record)
            elif run_id not in unknown | self._bounds.losable:
                yield f"I2 lost: the accepted run {run_id} is not in the store"

    def _run(self, record: RunRecord) -> Iterator[str]:
        run_id = record.summary.run_id
        if not record.summary.status.ended:
            yield f"I2 stuck: run {run_id} is {record.summary.status}; nodes: {_states(record)}"
            return
        plan = self._ledger.plan_of(record)
        if not (self._bounds.cancelled and record.summary.status is RunState.CANCELLED):
            yield from self._states(record, plan)
        yield from self._commits(record, plan)
        yield from self._undos(record, plan)

    def _undos(self, record: RunRecord, plan: Plan) -> Iterator[str]:
        """I7: see ``UndoAudit``."""
        undos = self._effects.of_undos[record.summary.run_id]
        audit = UndoAudit(record, plan, undos, self._bounds.failing_undos)
        if record.summary.status.compensates:
            self.committed += len(audit.committed)
            self.undone += len(audit.undone)
        yield from audit.violations()

    def _states(self, record: RunRecord, plan: Plan) -> Iterator[str]:
        """I12: every node has ended as its flow says, and the run as its nodes."""
        run_id = record.summary.run_id
        found = {at: record.nodes[at].state for at in range(len(plan.flow.nodes)) if at in record.nodes}
        for at, expected in self._expected_states(plan, found).items():
            if found.get(at) not in expected:
                yield f"I12 states: {run_id}/{plan.graph.names[at]} is {found.get(at)}, and not {sorted(expected)}"
        expected_status = _expected_status(plan, found, self._bounds.failing_undos)
        if record.summary.status not in expected_status:
            yield f"I12 status: run {run_id} is {record.summary.status} with nodes {found}"

    def _expected_states(self, plan: Plan, found: Mapping[int, NodeState]) -> dict[int, set[NodeState]]:
        """How each node may have ended: by its task, by what it needs, and by what its run was halted for."""
        is_halted = plan.flow.on_failure is not OnFailure.CONTINUE and NodeState.FAILED in found.values()
        states: dict[int, set[NodeState]] = {}
        for at, node in enumerate(plan.flow.nodes):
            before = {found.get(parent) for parent in plan.graph.parents[at]}
            if before - {NodeState.SUCCEEDED}:
                states[at] = _without_all_it_needs(before)
                continue
            states[at] = {NodeState.FAILED if node.task in self._bounds.failing else NodeState.SUCCEEDED}
            states[at] |= {NodeState.FAILED} if node.task in self._bounds.undecided else set()
            states[at] |= {NodeState.CANCELLED} if is_halted else set()
        return states

    def _commits(self, record: RunRecord, plan: Plan) -> Iterator[str]:
        """What was recorded is what one execution returned, and what every dependent, and every undo, was given."""
        run_id = record.summary.run_id
        words = {at: _word(unpack(output)) for at, output in record.outputs.items()}
        for at, word in words.items():
            name = plan.name_of(at)
            ended = self._effects.ended[run_id, name]
            if word not in [effect.word for effect in ended]:
                yield f"I6 unexpected: {run_id}/{name} has an output that no execution returned"
            given = {words.get(before) for before in _givers(plan, at)}
            judged = [effect for effect in ended if effect.word == word or not self._bounds.forgetful]
            if any(set(effect.parents) != given for effect in judged):
                yield f"I4 order: an execution of {run_id}/{name} was given what was not recorded"

    def _conserved(self) -> Iterator[str]:
        """I8: nothing is left over when everything has ended."""
        leftovers: Mapping[str, Sequence[str]] = {
            "outbox": self._ledger.due(),
            "timers": self._ledger.timers(),
            "open runs": self._ledger.open_runs(),
            "flows in use": list(self._ledger.flows_in_use()),
            "keys that never expire": self._ledger.without_expiry(self._history.accepted),
        }
        for name, members in leftovers.items():
            if members:
                yield f"I8 {name}: {len(members)} left, such as {members[0]}"

    def _accounted(self) -> Iterator[str]:
        """I13, I14: no task ran for a run that nobody asked for, and every dead letter is expected."""
        asked = {operation.run_id for operation in self._history.operations}
        strangers = {run_id for run_id, _ in self._effects.begun} - asked
        if strangers:
            yield f"I13 unexpected: {len(strangers)} runs ran that nobody submitted"
        letters = self._ledger.dead_letters()
        if len(letters) > self._bounds.dead_letters_at_most:
            yield f"I14 dead letters: {len(letters)}, such as {letters[0]}"

    def _bounded(self) -> Iterator[str]:
        """I6: how often code may run again."""
        if self._effects.duplicates > self._bounds.duplicates_at_most:
            worst = self._effects.begun.most_common(1)
            yield (
                f"I6 duplicates: {self._effects.duplicates} executions beyond one, "
                f"at most {self._bounds.duplicates_at_most} can come of the faults; most often {worst}"
            )


def _word(output: Any) -> Any:
    return output["word"] if isinstance(output, dict) else output


def _without_all_it_needs(before: Set[NodeState | None]) -> set[NodeState]:
    """How a node may end when not all before it have succeeded: who tells it first decides."""
    failures = {NodeState.FAILED, NodeState.UPSTREAM_FAILED}
    states = {NodeState.UPSTREAM_FAILED} if before & failures else set()
    return states | ({NodeState.SKIPPED} if before - failures - {NodeState.SUCCEEDED} else set())


def _givers(plan: Plan, at: int) -> Sequence[int]:
    """Whose outputs a node is called with; an undo, with that of its node."""
    return [at - len(plan.flow.nodes)] if plan.is_undo(at) else plan.graph.parents[at]


def _expected_status(plan: Plan, found: Mapping[int, NodeState], failing_undos: frozenset[str]) -> set[RunState]:
    if NodeState.FAILED not in found.values():
        return {RunState.SUCCEEDED}
    succeeded = {at for at, state in found.items() if state is NodeState.SUCCEEDED}
    if plan.compensates and any(plan.flow.nodes[at].compensation for at in succeeded):
        return {RunState.COMPENSATED} | ({RunState.COMPENSATION_FAILED} if failing_undos else set())
    return {RunState.FAILED}


def _states(record: RunRecord) -> dict[str, int]:
    return dict(Counter(str(node.state) for node in record.nodes.values()))
