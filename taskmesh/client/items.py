"""Finds the items of mapped nodes by the names that they have in the run which the map is in: ``NODE[PLACE]``."""

from __future__ import annotations

from typing import NamedTuple

from taskmesh.client.details import NodeDetails, RunDetails, place_of
from taskmesh.client.parts import ClientParts
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import RunNotFoundError, RunStateError, UsageError
from taskmesh.model.item_names import read_item_name
from taskmesh.model.mapping import Map
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Outcome, child_id


class Found(NamedTuple):
    """A node and the run that it belongs to. ``map_place`` is that of the map of which it is an item, if it is one."""

    run_id: str
    plan: Plan
    place: int
    map_place: int | None = None

    @property
    def name(self) -> str:
        return self.plan.name_of(self.place)

    def of(self, run: RunDetails) -> NodeDetails:
        """The node among all that is known of its run.

        :raises RunStateError: it is an undo, and there is nothing to undo.
        """
        node = run.nodes[self.place % len(run.nodes)]
        if not self.plan.is_undo(self.place):
            return node
        if node.undo is None:
            raise RunStateError(self.run_id, f"has nothing to undo of its node {node.name!r}")
        return node.undo


class Items:
    """Reads; changes nothing. Safe in threads."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts

    def find(self, run_id: str, node: str) -> Found:
        """A node, or undo, of a run by its name, or an item of a map of it.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node, or the map no such item.
        :raises RunStateError: the map has no items yet, or not any more.
        """
        plan = self._plan(run_id)
        if plan is None:
            raise RunNotFoundError(run_id)
        place = plan.place_of(node)
        if place is not None:
            return Found(run_id, plan, place)
        name, number = read_item_name(node) or (node, None)
        outer = place_of(plan, run_id, name)
        if plan.is_undo(outer) or not isinstance(plan.node(outer).step, Map):
            raise UsageError(f"node {name!r} of run {run_id!r} is no map, so there is no {node!r}; name the node alone")
        return self._item(run_id, name, outer, int(number or 0))

    def located(self, run_id: str, node: str | None) -> tuple[str, str | None]:
        """The run that a node belongs to, where one is named, and its name there; errors as of ``find``."""
        if node is None:
            return run_id, None
        found = self.find(run_id, node)
        return found.run_id, found.name

    def child_of(self, key: NodeKey) -> str | None:
        """The run of the items of a map, whose key is given; None where there is none, or not any more."""
        [record] = self._parts.reader.node_records([key])
        [heard] = self._parts.reader.run_fields(key.run_id, [f"child:{key.node}"])
        wanted = [child_id(key, record.opened_at, record.retries)] if record else []
        wanted += [Outcome.read(heard).ticket] if heard else []
        known = zip(wanted, self._parts.reader.statuses(wanted), strict=True)
        return next((run_id for run_id, status in known if status is not None), None)

    def _item(self, run_id: str, name: str, outer: int, number: int) -> Found:
        child = self.child_of(NodeKey(run_id, outer))
        plan = self._plan(child) if child else None
        if child is None or plan is None:
            why = "has not begun, or its list was empty, or they are not in the store any more"
            raise RunStateError(run_id, f"has no items of map {name!r}: that {why}")
        total = len(plan.flow.nodes)
        if number >= total:
            known = f"{plan.name_of(0)!r} to {plan.name_of(total - 1)!r}" if total > 1 else repr(plan.name_of(0))
            raise UsageError(f"map {name!r} of run {run_id!r} has no item {number}; there is {known}")
        return Found(child, plan, number, outer)

    def _plan(self, run_id: str) -> Plan | None:
        [flow_hash] = self._parts.reader.run_fields(run_id, ("flow",))
        return self._parts.plans.get(flow_hash.decode(), run_id) if flow_hash else None
