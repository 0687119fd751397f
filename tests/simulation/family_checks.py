"""What must hold of child runs and the nodes that have begun them, when all is over."""

from __future__ import annotations

from typing import Any

from taskmesh.model.loops import Loop
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import CHILD_CANCELLED, CHILD_FAILED, Outcome
from taskmesh.store.link import Command, value_of
from taskmesh.store.reader import Reader
from taskmesh.store.records import RunRecord
from taskmesh.wire import unpack
from tests.simulation.history import require
from tests.simulation.works import PlannedRun
from tests.simulation.world import World

UNWANTED = (RunState.CANCELLED, RunState.TERMINATED)
UNDONE = (RunState.COMPENSATED, RunState.COMPENSATION_FAILED)


class FamilyChecks:
    """Looks at the store of one world."""

    def __init__(self, world: World, reader: Reader) -> None:
        self._world = world
        self._reader = reader

    def check_end(self) -> None:
        """Every child has told its end, and nobody looks after it any more."""
        for partition in self._world.keys.partitions:
            [reply] = self._world.server.run(Command(partition.children, "ZCARD", partition.children))
            require(value_of(reply) == 0, f"{value_of(reply)} children are looked after, and all have ended")

    def may_be_stopped(self, child: PlannedRun) -> bool:
        """Whether others than people may have cancelled a run: it ends with its parent, which has ended early."""
        if child.parent is None or not child.ends_with_parent:
            return False
        history, above = self._world.history, self._world.runs[child.parent.run_id]
        if child.parent.run_id in history.halted | history.terminated:
            return True
        record = self._record(above.run_id)
        return bool(record.summary.halt) or self._kind(record, child.parent.place) == "Poisoned"

    def check(self, run: PlannedRun, record: RunRecord, at: int) -> None:
        """A node, or an undo, is as its children are."""
        if run.plan.is_undo(at):
            self._check_undone(run, record, at)
            return
        name, node, state = f"{run.run_id}/{at}", run.plan.node(at), record.nodes[at].state
        children = self._world.families.children[NodeKey(run.run_id, at)]
        if state == NodeState.SUCCEEDED:
            self._check_output(name, record, at, children)
            if isinstance(node.step, Loop):
                done = int(node.step.condition.rpartition(" ")[2])
                require(len(children) >= done, f"{name} has begun {len(children)} iterations of {done}")
        if state == NodeState.FAILED:
            self._check_failure(name, record, at, children)

    def _check_output(self, name: str, record: RunRecord, at: int, children: list[str]) -> None:
        require(bool(children), f"{name} succeeded, and has begun no run")
        heard = self._heard(record, at)
        require(heard is not None and heard.ticket in children, f"{name} succeeded, and has heard of {heard}")
        child = self._world.runs[children[-1]]
        require(
            heard is None or heard.ticket == child.run_id, f"{name} has heard of {heard}, the last is {child.run_id}"
        )
        expected, found = self._result(child), unpack(record.outputs[at])
        require(found == expected, f"{name} gave {found}, and run {child.run_id} {expected}")

    def _check_failure(self, name: str, record: RunRecord, at: int, children: list[str]) -> None:
        kind, heard = self._kind(record, at), self._heard(record, at)
        if kind == "Poisoned":
            return
        require(heard is not None and heard.ticket == children[-1], f"{name} failed, and has heard of {heard}")
        assert heard is not None
        child = self._record(children[-1]).summary
        is_unwanted = child.status in UNWANTED or child.halt == RunState.CANCELLED
        expected = (
            {"LoopExhausted"}
            if heard.status is RunState.SUCCEEDED
            else {CHILD_CANCELLED if is_unwanted else CHILD_FAILED}
        )
        require(kind in expected, f"{name} failed with {kind}, its child {children[-1]} is {child.status}")

    def _check_undone(self, run: PlannedRun, record: RunRecord, undo: int) -> None:
        """What its node has begun, and has ended well, is undone where there was anything to undo."""
        if record.nodes[undo].state != NodeState.SUCCEEDED:
            return
        for child_id in self._world.families.children[NodeKey(run.run_id, undo - len(run.plan.flow.nodes))]:
            child = self._world.runs[child_id]
            nodes = self._record(child_id).nodes
            done = [at for at, node in enumerate(child.plan.flow.nodes) if node.compensation and _succeeded(nodes, at)]
            status = self._record(child_id).summary.status
            is_right = not done or status in UNDONE or status is not RunState.SUCCEEDED
            require(is_right, f"{run.run_id}/{undo} has undone its node, and {child_id} is {status}")

    def _result(self, child: PlannedRun) -> Any:
        record = self._record(child.run_id)
        count = len(child.plan.flow.nodes)
        if child.plan.flow.copies is None:
            return unpack(record.outputs[count - 1])
        return [
            unpack(record.outputs[at]) if at in record.outputs else {"failed": _said(record.errors[at])}
            for at in range(count)
        ]

    def _heard(self, record: RunRecord, at: int) -> Outcome | None:
        [packed] = self._reader.run_fields(record.summary.run_id, [f"child:{at}"])
        return Outcome.read(packed) if packed else None

    def _kind(self, record: RunRecord, at: int) -> str:
        return str(unpack(record.errors[at])["type"]) if at in record.errors else ""

    def _record(self, run_id: str) -> RunRecord:
        record = self._reader.run(run_id)
        assert record is not None, f"{run_id} was admitted and is not there"
        return record


def _succeeded(nodes: Any, at: int) -> bool:
    return at in nodes and nodes[at].state == NodeState.SUCCEEDED


def _said(error: bytes) -> dict[str, str]:
    fields = unpack(error)
    return {"type": fields["type"], "message": fields["message"]}
