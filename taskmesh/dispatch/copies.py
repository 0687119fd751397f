"""The run in which the items of a mapped node are worked on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.entrance import digest_of
from taskmesh.dispatch.items import Items
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow
from taskmesh.model.mapping import GIVEN, ORIGIN, Map, copies_flow
from taskmesh.wire import pack


def copies_plan(outer: Flow, step: Map, items: Items) -> Plan:
    """The plan of the run of the items of a node of the flow ``outer``."""
    return Plan.of(copies_flow(outer.name, outer.version, step, items.copies))


def copies_params(given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Its parameters: what all items are given, and whose they are."""
    return {GIVEN: dict(given), ORIGIN: origin}


def copies_entrance(plan: Plan, items: Items, run_id: str, params: Mapping[str, Any]) -> Entrance:
    """That run, as it wants in."""
    flow = plan.flow
    return Entrance(
        plan=plan,
        run_id=run_id,
        digest=digest_of(plan.hash, params),
        header=pack([flow.name, flow.version, {}, len(flow.nodes)]),
        params=pack(params),
        shard_key=run_id,
        items=items.chunks,
    )
