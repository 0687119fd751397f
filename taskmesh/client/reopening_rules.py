"""Whether an ended run can go on from a node, or from an item of a map."""

from __future__ import annotations

from taskmesh.client.items import Found, Items
from taskmesh.client.maps_again import MapsAgain
from taskmesh.client.parts import ClientParts
from taskmesh.client.wishes import RETRY, Wish
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.reopening import CONTINUED, resets
from taskmesh.model.flow import OnFailure
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.calls import NodeKey


class ReopeningRules:
    """Reads; changes nothing."""

    def __init__(self, parts: ClientParts) -> None:
        self._parts = parts
        self._items = Items(parts)
        self._maps = MapsAgain(parts)

    def why_not(self, run_id: str, plan: Plan, wish: Wish) -> str:
        """Why an ended run cannot go on so, as the rest of a sentence about it; empty where it can, or has not ended.

        :raises UsageError: the map has no such item. :raises RunStateError: it has no items.
        """
        [status] = self._parts.reader.statuses([run_id])
        if status is None or not status.ended or wish.place is None or not wish.is_of_items:
            return ""
        return self._why_no_item(run_id, plan, wish) if wish.item else self._why_no_node(run_id, plan, wish.place)

    def _why_no_node(self, run_id: str, plan: Plan, place: int) -> str:
        [record] = self._parts.reader.node_records([NodeKey(run_id, place)])
        if record is None or record.state is not NodeState.SUCCEEDED:
            return ""
        name, child = plan.name_of(place), self._maps.items_run(run_id, plan, place)
        if child is None or child.status is not RunState.FAILED:
            return f"has no failure at its node {name!r}, which has succeeded; {_again(run_id, name)}"
        return self._why_anew(run_id, plan, place)

    def _why_no_item(self, run_id: str, plan: Plan, wish: Wish) -> str:
        found = self._items.find(run_id, wish.item)
        assert wish.place is not None
        child = self._maps.items_run(run_id, plan, wish.place)
        if child is None or child.run_id != found.run_id:
            return f"has begun its map {plan.name_of(wish.place)!r} anew; it can be retried when that has ended"
        if not child.status.ended or child.status.compensates:
            return f"cannot go on at item {wish.item!r}: the run of the items, {child.run_id}, is {child.status}"
        [record] = self._parts.reader.node_records([NodeKey(found.run_id, found.place)])
        if wish.verb == RETRY and record is not None and record.state is NodeState.SUCCEEDED:
            return f"has no failure at item {wish.item!r}, which has succeeded; {_again(run_id, wish.item)}"
        return self._why_not_alone(run_id, plan, wish, found) or self._why_anew(run_id, plan, wish.place)

    def _why_not_alone(self, run_id: str, plan: Plan, wish: Wish, found: Found) -> str:
        """Where a failure of one fails the map, it can only succeed with all of them."""
        if wish.verb != RETRY or found.plan.flow.on_failure is OnFailure.CONTINUE:
            return ""
        records = self._parts.reader.records_of_run(found.run_id)
        # A run has records beside those of its nodes: as of how its parent is told.
        states = [records[at].state for at in range(len(found.plan.flow.nodes)) if at in records]
        lacking = len(found.plan.flow.nodes) - states.count(NodeState.SUCCEEDED) - 1
        if lacking <= 0:
            return ""
        name, others = plan.name_of(wish.place or 0), "1 other has" if lacking == 1 else f"{lacking} others have"
        return (
            f"cannot go on with item {wish.item!r} alone: {others} not succeeded either, and map {name!r} "
            f"needs them all; `taskmesh retry {run_id} --node {name}` runs them"
        )

    def _why_anew(self, run_id: str, plan: Plan, place: int) -> str:
        """Where something before it runs again, a map begins anew, with whatever its list is then."""
        read = self._parts.reader
        records, arrived, skipped = (
            read.records_of_run(run_id),
            read.counts(run_id, "arrived"),
            read.counts(run_id, "skipped"),
        )
        wanted = {each.node: each.wanted for each in resets(plan, records, arrived, place, skipped, {place})}
        if wanted.get(place) == CONTINUED:
            return ""
        return (
            f"cannot go on with the items of map {plan.name_of(place)!r}: what is before it runs again; "
            f"`taskmesh retry {run_id}` begins it anew then"
        )


def _again(run_id: str, node: str) -> str:
    return f"`taskmesh rerun {run_id} --from '{node}'` runs it again"
