"""What the message of a node needs beside its key: the plan and the shard key of its run, from the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import WireError
from taskmesh.store.calls import NodeKey
from taskmesh.store.reader import Reader

_log = logging.getLogger(__name__)


class LookedUp(NamedTuple):
    """No ``plan`` where it cannot be read. ``is_gone``: the run is not there any more."""

    key: NodeKey
    plan: Plan | None
    shard_key: str = ""
    is_gone: bool = False


def look_up(reader: Reader, plans: Plans, keys: Sequence[NodeKey]) -> list[LookedUp]:
    """Look nodes up, in one exchange but for the flows that this process has not seen lately.

    :raises StoreUnavailableError: nothing is known.
    """
    rows = reader.fields_of_runs([key.run_id for key in keys], ("flow", "shard_key")) if keys else []
    return [
        LookedUp(key, None, is_gone=True)
        if flow_hash is None or shard_key is None
        else LookedUp(key, _plan(plans, flow_hash.decode(), key.run_id), shard_key.decode())
        for key, (flow_hash, shard_key) in zip(keys, rows, strict=True)
    ]


def _plan(plans: Plans, flow_hash: str, run_id: str) -> Plan | None:
    try:
        plan = plans.get(flow_hash, run_id)
    except WireError as error:
        _log.error("the flow of run %s cannot be read: %s", run_id, error, extra={"run": run_id})
        return None
    if plan is None:
        _log.error("the flow of run %s is not in the store any more", run_id, extra={"run": run_id})
    return plan
