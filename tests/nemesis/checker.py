"""The invariants, computed after every experiment from what the clients, the tasks and the store say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskmesh.dispatch.plan import Plan
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.reader import RunRecord
from taskmesh.wire import unpack
from tests.nemesis.app import FAILS
from tests.nemesis.effects import BEGIN, END, Effect
from tests.nemesis.history import History
from tests.nemesis.ledger import Ledger
from tests.nemesis.recovery import LEASE_SECONDS

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an experiment may cost, and what it is expected to leave behind.

    ``own_waits_seconds``: what passes after its last fault beside what every recovery may take, and user code.
    ``lease_seconds`` is that of its workers.
    ``losable`` runs may be gone, where the store itself forgets (``forgetful``: it has forgotten ends of nodes too, so
    that nodes ran again after their dependents); ``cancelled``: runs may have been; ``failing`` are
    tasks whose nodes must fail.
    """

    duplicates_at_most: int = 0
    dead_letters_at_most: int = 0
    own_waits_seconds: float = 0.0
    lease_seconds: float = LEASE_SECONDS
    losable: frozenset[str] = frozenset()
    forgetful: bool = False
    cancelled: bool = False
    failing: frozenset[str] = frozenset({FAILS})


class Effects:
    """The effect log, indexed."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.begun = Counter(each.key for each in effects if each.event == BEGIN)
        self.ended: dict[tuple[str, str], list[Effect]] = defaultdict(list)
        for effect in effects:
            if effect.event == END:
                self.ended[effect.key].append(effect)

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

    def _states(self, record: RunRecord, plan: Plan) -> Iterator[str]:
        """I12: every node has ended as its flow says, and the run as its nodes."""
        run_id = record.summary.run_id
        expected = expected_states(plan, self._bounds.failing)
        found = {at: record.nodes[at].state for at in expected if at in record.nodes}
        if found != expected:
            yield f"I12 states: run {run_id} ended with {found}, and not with {expected}"
        if record.summary.status is not _expected_status(expected):
            yield f"I12 status: run {run_id} is {record.summary.status} with nodes {found}"

    def _commits(self, record: RunRecord, plan: Plan) -> Iterator[str]:
        """What was recorded is what one execution returned, and what every dependent was given."""
        run_id, names = record.summary.run_id, plan.graph.names
        words = {at: _word(unpack(output)) for at, output in record.outputs.items()}
        for at, word in words.items():
            ended = self._effects.ended[run_id, names[at]]
            if word not in [effect.word for effect in ended]:
                yield f"I6 unexpected: {run_id}/{names[at]} has an output that no execution returned"
            given = {words.get(parent) for parent in plan.graph.parents[at]}
            judged = [effect for effect in ended if effect.word == word or not self._bounds.forgetful]
            if any(set(effect.parents) != given for effect in judged):
                yield f"I4 order: an execution of {run_id}/{names[at]} was given what was not recorded"

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


def expected_states(plan: Plan, failing: frozenset[str]) -> dict[int, NodeState]:
    """How each node ends: by its task, and by what it needs."""
    states: dict[int, NodeState] = {}
    for at, node in enumerate(plan.flow.nodes):
        parents = [states[parent] for parent in plan.graph.parents[at]]
        if any(state is not NodeState.SUCCEEDED for state in parents):
            states[at] = NodeState.UPSTREAM_FAILED
        else:
            states[at] = NodeState.FAILED if node.task in failing else NodeState.SUCCEEDED
    return states


def _expected_status(states: Mapping[int, NodeState]) -> RunState:
    return RunState.FAILED if NodeState.FAILED in states.values() else RunState.SUCCEEDED


def _states(record: RunRecord) -> dict[str, int]:
    return dict(Counter(str(node.state) for node in record.nodes.values()))
