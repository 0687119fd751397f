"""Which nodes a fork takes over from the run it comes from, and which it runs itself. Pure: from what is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from taskmesh.dispatch.gates import condition_of
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.reopening import Records, descendants
from taskmesh.model.flow import ALL_PARAMS
from taskmesh.model.states import NodeState
from taskmesh.store.records import NodeRecord
from taskmesh.wire import pack, unpack


class Inherited(NamedTuple):
    """The nodes that a fork takes over, and when the last of them had ended in the run that it comes from.

    It is decided once and kept with the fork: whoever goes on with preparing it must take the same ones.
    """

    nodes: tuple[int, ...]
    as_of: float

    def packed(self, count: int) -> bytes:
        """As it is kept with a run of ``count`` nodes: a bit for each."""
        bits = bytearray((count + 7) // 8)
        for node in self.nodes:
            bits[node // 8] |= 1 << node % 8
        return pack([bytes(bits), self.as_of])

    @classmethod
    def read(cls, packed: bytes) -> Inherited:
        bits, as_of = unpack(packed)
        return cls(tuple(at for at in range(8 * len(bits)) if bits[at // 8] >> at % 8 & 1), as_of)

    def still_has(self, record: NodeRecord) -> bool:
        """Whether a node of the other run is as it was when this was decided: it may have run again since."""
        return record.state is NodeState.SUCCEEDED and record.finished_at <= self.as_of


def inherited(plan: Plan, records: Records, origins: Iterable[int]) -> Inherited:
    """All that has succeeded and does not depend on one of ``origins``, nor on anything else that runs again.

    What somebody has marked by hand stays so, whatever it depends on. The places of nodes are in topological order.
    """
    again = descendants(plan, origins)
    found: set[int] = set()
    for at in range(len(plan.flow.nodes)):
        record = records.get(at)
        if record is None or record.state is not NodeState.SUCCEEDED or at in again or plan.flow.nodes[at].is_flow_hook:
            continue
        # Records are read one after another, so a node may be seen before its end, and what needs it after it.
        if record.is_by_hand or found.issuperset(plan.graph.parents[at]):
            found.add(at)
    return Inherited(tuple(sorted(found)), max((records[at].finished_at for at in found), default=0.0))


def readers_of(plan: Plan, changed: Collection[str]) -> list[int]:
    """The nodes whose arguments are made of one of these parameters, or whose conditions read one."""
    return [at for at in range(len(plan.flow.nodes)) if changed and _reads(plan, at, changed)]


def _reads(plan: Plan, at: int, changed: Collection[str]) -> bool:
    node = plan.flow.nodes[at]
    read = {
        *plan.graph.arguments[at].params,
        *(name for text in node.conditions for name in condition_of(text).params),
    }
    return node.args == ALL_PARAMS or not read.isdisjoint(changed)
