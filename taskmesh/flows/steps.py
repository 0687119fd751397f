"""Steps of nodes in flow files: a node has the kind of which it has the key."""

from __future__ import annotations

from collections.abc import Mapping

from taskmesh.flows.forms import Form
from taskmesh.flows.loops import LOOP_FORM
from taskmesh.flows.mapping import MAP
from taskmesh.flows.subflows import SUBFLOW_FORM
from taskmesh.flows.waiting import APPROVE, EVENT_WAIT, SLEEP, WAIT
from taskmesh.model.events.waits import EventWait
from taskmesh.model.waiting import Approve, Sleep, Wait

FORMS: Mapping[str, Form] = {
    "map": MAP,
    "repeat_until": LOOP_FORM,
    "flow": SUBFLOW_FORM,
    Sleep.kind: SLEEP,
    EventWait.kind: EVENT_WAIT,
    Wait.kind: WAIT,
    Approve.kind: APPROVE,
}
"""By kind, which is the key that names it; a node that has the keys of two is of the first."""


def kind_of(keys: Mapping[str, object]) -> str | None:
    """The kind of a node that has these keys; None for one that runs a task and nothing else."""
    return next((kind for kind in FORMS if kind in keys), None)
