"""Which registered flows begin with events: those whose active version says so, now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError, WireError
from taskmesh.model.condition_text import ConditionError
from taskmesh.model.events.gathering import Gatherer
from taskmesh.model.events.on_event_rules import Reaction
from taskmesh.store.flow_versions import FlowVersions
from taskmesh.wire.flows import decode_flow

_log = logging.getLogger(__name__)


class Subscribed(NamedTuple):
    """A flow that begins with events: with each by itself, or with those that it gathers."""

    plan: Plan
    reaction: Reaction | Gatherer


class SubscribedFlows:
    """Finds them. What a version says never changes, so only which ones are active is asked again. Safe in threads."""

    def __init__(self, versions: FlowVersions) -> None:
        self._versions = versions
        self._known: dict[tuple[str, int], Subscribed | None] = {}
        self._lock = threading.Lock()

    def now(self, names: Sequence[str]) -> list[Subscribed]:
        """Those of the registered flows, which have these names.

        :raises StoreUnavailableError: the store does not answer.
        """
        flows = self._versions.flows(names)
        active = [(flow.name, flow.active) for flow in flows if flow is not None and flow.active is not None]
        with self._lock:
            known = {key: self._known[key] for key in active if key in self._known}
        fresh = [key for key in active if key not in known]
        known |= {key: self._read(key[0], flow_hash) for key, flow_hash in self._hashes(fresh)}
        with self._lock:
            # What is active no more is forgotten.
            self._known = known
        return [each for each in known.values() if each is not None]

    def _hashes(self, keys: list[tuple[str, int]]) -> list[tuple[tuple[str, int], str]]:
        versions = self._versions.versions(keys) if keys else []
        return [(key, version.hash) for key, version in zip(keys, versions, strict=True) if version is not None]

    def _read(self, name: str, flow_hash: str) -> Subscribed | None:
        try:
            return read_subscribed(self._versions, name, flow_hash)
        except (UsageError, WireError, ConditionError) as error:
            _log.error("events begin no runs of flow %s, since its active version cannot be read: %s", name, error)
            return None


def read_subscribed(versions: FlowVersions, name: str, flow_hash: str) -> Subscribed | None:
    """What the version of a flow with this address makes of events; None where that is nothing, or it is gone.

    :raises UsageError: as of ``Reaction``; so ``ConditionError``. :raises WireError: its bytes cannot be read.
    """
    body = versions.body_of(flow_hash, name)
    on = decode_flow(body).on if body is not None else None
    if body is None or on is None:
        return None
    reaction = Gatherer(name, on, on.batching) if on.batching else Reaction(name, on)
    return Subscribed(Plan.from_body(body), reaction)
