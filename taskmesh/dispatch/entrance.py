"""From a caller's wish to a run that can be admitted: checked, packed, and known by its digest."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.large_params import LargeParams
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import TooLargeError, UsageError
from taskmesh.model.durations import duration_problem
from taskmesh.model.flow import Flow
from taskmesh.model.params import check_params
from taskmesh.model.run_context import NO_CONTEXT, RunContext
from taskmesh.wire import pack
from taskmesh.wire.claim_checks import ClaimCheck, Params
from taskmesh.wire.run_contexts import encode_context

_ID_BYTES = 12
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


@dataclass(frozen=True, slots=True)
class Submission:
    """One run to submit. ``context`` is what is said of the request that it serves.

    ``aside`` stands for parameters that were put aside for it already; whether they fit was looked at, or is not.
    """

    params: Mapping[str, Any]
    run_id: str | None = None
    tags: Mapping[str, str] | None = None
    deadline_seconds: float | None = None
    context: RunContext = NO_CONTEXT
    aside: Mapping[str, ClaimCheck] = field(default_factory=dict)


def entrance_of(plan: Plan, submission: Submission, max_value_bytes: int, large: LargeParams | None = None) -> Entrance:
    """The run that a submission asks for. ``large`` puts large parameters aside.

    :raises UsageError: the id or the deadline cannot be one. :raises FlowError: the parameters are not the flow's.
    :raises TooLargeError: the parameters have more than ``max_value_bytes``, without those that were put aside.
    :raises PayloadUnavailableError: one could not be put aside.
    """
    run_id = _checked_id(submission.run_id) if submission.run_id is not None else secrets.token_hex(_ID_BYTES)
    here = _accepted(plan.flow, submission)
    params = Params(here, submission.aside).packed()
    if large is not None and large.takes(len(params)):
        params = large.parted(run_id, here).packed()
    if len(params) > max_value_bytes:
        raise TooLargeError(
            f"the parameters of run {run_id!r} have {len(params)} bytes; "
            f"limits.max_value_bytes allows {max_value_bytes}"
        )
    flow, is_named = plan.flow, submission.run_id is not None
    return Entrance(
        plan=plan,
        run_id=run_id,
        digest=_digest_of_params(plan, here, submission.aside) if is_named else _digest(plan.hash, params),
        header=pack([flow.name, flow.version, dict(submission.tags or {}), len(flow.nodes)]),
        params=params,
        shard_key=_shard_key(flow, run_id, here),
        deadline_seconds=_deadline(flow, submission.deadline_seconds),
        further=("context", context) if (context := encode_context(submission.context.checked())) else (),
    )


def _accepted(flow: Flow, submission: Submission) -> dict[str, Any]:
    """The parameters that are not put aside already."""
    if not submission.aside:
        return check_params(flow, submission.params)
    accepted = check_params(flow, {**submission.params, **dict.fromkeys(submission.aside)}, submission.aside)
    return {name: value for name, value in accepted.items() if name not in submission.aside}


def _digest_of_params(plan: Plan, here: Mapping[str, Any], aside: Mapping[str, ClaimCheck]) -> bytes:
    """Whatever is put aside has another name each time; what it is stays the same."""
    if not aside:
        return digest_of(plan.hash, here)
    return digest_of(plan.hash, {**here, **{name: [check.size, check.digest] for name, check in aside.items()}})


def _deadline(flow: Flow, seconds: float | None) -> float | None:
    """The flow's is for those who give none; what a caller gives may be shorter or longer."""
    if seconds is None:
        return flow.timeout_seconds
    if problem := duration_problem(seconds):
        raise UsageError(f"deadline_seconds {problem}")
    return seconds


def digest_of(key: str, value: Any) -> bytes:
    """By what a run is known that is asked for again."""
    return _digest(key, canonical(value))


def canonical(value: Any) -> bytes:
    """A value packed so that equal ones are the same, in whatever order their keys are."""
    return pack(_in_order(value))


def _digest(key: str, packed: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=16, key=key.encode()).digest()


def _in_order(value: Any) -> Any:
    """The same value with its keys sorted: equal parameters are the same body, however they were put together."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value, key=str)}
    return [_in_order(item) for item in value] if isinstance(value, list | tuple) else value


def _checked_id(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"the run id {run_id!r} is not usable: it must start with a letter or digit, have at most 128 characters, "
            "and besides letters and digits only . _ : @ -"
        )
    return run_id


def _shard_key(flow: Flow, run_id: str, params: Mapping[str, Any]) -> str:
    if not flow.shard_by.startswith("params."):
        return run_id
    return str(params[flow.shard_by.removeprefix("params.")])[:128]
