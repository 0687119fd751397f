"""The run in which the items of a mapped node are worked on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.dispatch.maps.items import Items
from taskmesh.dispatch.plan import Plan
from taskmesh.model.flow import Flow
from taskmesh.model.mapping import GIVEN, MOST_BYTES, ORIGIN, Map, copies_flow


def copies_plan(outer: Flow, step: Map, items: Items) -> Plan:
    """The plan of the run of the items of a node of the flow ``outer``."""
    return Plan.of(copies_flow(outer, step, items.copies))


def copies_params(given: Mapping[str, Any], origin: str, most_bytes: int) -> dict[str, Any]:
    """Its parameters: what all items are given, whose they are, and how large the list of their outputs may be."""
    return {GIVEN: dict(given), ORIGIN: origin, MOST_BYTES: most_bytes}
