"""What cannot be decided of a run by itself that consists of the items of a map."""

from __future__ import annotations

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import RunStateError


def refuse_copies(run_id: str, plan: Plan) -> None:
    """:raises RunStateError: the run is a part of a node of another one, which is what can be decided about."""
    if plan.flow.copies:
        raise RunStateError(run_id, WHY_NOT)


WHY_NOT = (
    "has the items of a map as its nodes; do it to the run that the map is in (`taskmesh show` names it), where an "
    "item is called NODE[PLACE]"
)
