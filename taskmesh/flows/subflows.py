"""Nodes of flow files that begin child runs: ``flow: NAME@VERSION``, or a flow that stands in the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.flows.choices import Reading
from taskmesh.flows.fields import RETRY_KEYS
from taskmesh.flows.forms import Fields, Form, Said
from taskmesh.flows.policies import PolicyReading
from taskmesh.model.problems import Hints, Path
from taskmesh.model.subflows import OnParentClose, Subflow
from taskmesh.model.values import Value

POLICY_KEYS = ("args", "retry", "timeout", "on_parent_close")
"""What a node may say that begins child runs, beside what these are runs of."""

ON_PARENT_CLOSE: Mapping[str, Any] = {
    "enum": [str(each) for each in OnParentClose],
    "default": str(OnParentClose.CANCEL),
    "description": "What becomes of the child run when its parent is cancelled, fails or is terminated.",
}

FLOW_OF_CHILD: Mapping[str, Any] = {
    "description": "What the child is a run of: a registered flow, or a flow that stands here.",
    "anyOf": [
        {"type": "string", "minLength": 1, "description": "NAME, NAME@NUMBER or NAME@latest."},
        {"$ref": "#/$defs/inline"},
    ],
}


def read_policies(fields: Fields, path: Path, reading: Reading) -> tuple[OnParentClose, Said]:
    """What stands beside the flow; the step of what is said is still to be filled in."""
    args = fields["args"].plain() if "args" in fields else {}
    if not isinstance(args, dict):
        reading.found((*path, "args"), f"args must be a mapping of names to values, not {fields['args'].shown}")
        args = {}
    policies, retry = PolicyReading(path, reading.found), None
    if "retry" in fields:
        retry = policies.retry(reading.fields(fields["retry"], (*path, "retry"), "retry", RETRY_KEYS, {}))
    return _policy(fields, path, reading), Said(Subflow(), args, retry, policies.limits(fields))


def _policy(fields: Fields, path: Path, reading: Reading) -> OnParentClose:
    text = reading.text(fields.get("on_parent_close"), (*path, "on_parent_close"))
    if not text or text in list(OnParentClose):
        return OnParentClose(text or OnParentClose.CANCEL)
    known = [str(each) for each in OnParentClose]
    hint = Hints(known).did_you_mean(text)
    reading.found((*path, "on_parent_close"), f"on_parent_close must be one of {', '.join(known)}{hint}")
    return OnParentClose.CANCEL


def policy_fields(policy: OnParentClose, args: Mapping[str, Value]) -> dict[str, Any]:
    """The other way round; retry and limits are written as those of any node."""
    fields: dict[str, Any] = {"args": args} if args else {}
    return fields | ({"on_parent_close": str(policy)} if policy is not OnParentClose.CANCEL else {})


def _read(fields: Fields, path: Path, reading: Reading) -> Said:
    flow, (policy, said) = fields["flow"], read_policies(fields, path, reading)
    if isinstance(flow.value, dict):
        return said._replace(step=Subflow("", reading.inner_flow(flow, (*path, "flow")), policy))
    return said._replace(step=Subflow(reading.text(flow, (*path, "flow")), None, policy))


def _write(step: Subflow, args: Mapping[str, Value]) -> dict[str, Any]:
    # Flows hold nodes, and nodes may hold flows.
    from taskmesh.flows.dumping import flow_document

    flow = step.reference if step.inline is None else flow_document(step.inline)
    return {"flow": flow, **policy_fields(step.on_parent_close, args)}


SUBFLOW_FORM = Form(("flow", *POLICY_KEYS), {"flow": FLOW_OF_CHILD, "on_parent_close": ON_PARENT_CLOSE}, _read, _write)
