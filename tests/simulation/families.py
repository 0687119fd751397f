"""The child runs of a simulation: noticed when the store admits them, as nobody plans them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from taskmesh.dispatch.plan import Plan
from taskmesh.model.states import RunState
from taskmesh.model.subflows import ChildStep
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Parent
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command, Reply, value_of
from taskmesh.store.records import node_record
from tests.simulation.children import most_children
from tests.simulation.history import require
from tests.simulation.store import SimServer
from tests.simulation.works import PlannedRun, plan_child

FURTHER_ARGUMENTS = 15
"""After so many arguments of ``admit_run`` come the further fields."""


class Families:
    """Who has begun whom. ``on_birth`` is told of each child run."""

    def __init__(
        self,
        seed: int,
        server: SimServer,
        keys: Keys,
        runs: dict[str, PlannedRun],
        on_birth: Callable[[PlannedRun], None],
    ) -> None:
        self._seed = seed
        self._server = server
        self._keys = keys
        self._runs = runs
        self._on_birth = on_birth
        self.children: defaultdict[NodeKey, list[str]] = defaultdict(list)
        """By the node that has begun them, in their order."""

    def on_command(self, actor: str, command: Command, reply: Reply) -> None:
        if command.script is None or command.script.name != "admit_run" or not isinstance(reply, list):
            return
        if reply[0] != b"admitted":
            return
        arguments = command.arguments[3 + int(command.arguments[2]) :]
        further = arguments[FURTHER_ARGUMENTS:]
        packed = dict(zip(further[::2], further[1::2], strict=True)).get("parent")
        if isinstance(packed, bytes):
            self._born(str(arguments[1]), str(arguments[5]), Parent.read(packed))

    def is_wanted(self, run: PlannedRun) -> bool:
        """Whether a run may go on: it is no child, it is one that may outlive its parent, or that waits for it."""
        if run.parent is None or not run.ends_with_parent:
            return True
        key = self._keys.run(run.parent.run_id)
        status, halt, record = self._read(Command(key, "HMGET", key, "status", "halt", f"node:{run.parent.place}"))
        is_over = status is None or RunState(status.decode()).ended or (halt is not None and not run.outlasts_halt)
        if is_over or record is None or node_record(record).state.ended:
            return False
        return self.is_wanted(self._runs[run.parent.run_id])

    def _born(self, run_id: str, flow_hash: str, parent: Parent) -> None:
        above = self._runs[parent.run_id]
        key = self._keys.partition_of(run_id).flow(flow_hash)
        plan = Plan.from_body(self._read(Command(key, "HGET", key, "body")))
        node = above.plan.node(parent.place)
        assert isinstance(node.step, ChildStep)
        run = self._runs[run_id] = plan_child(self._seed, run_id, plan, parent, node, above)
        begun = self.children[parent.key]
        begun.append(run_id)
        most = most_children(node)
        require(len(begun) <= most, f"{parent.key.member} has begun {begun}, and may begin {most}")
        self._on_birth(run)

    def _read(self, command: Command) -> Any:
        [reply] = self._server.run(command)
        return value_of(reply)
