"""Tells parents that their child runs have ended.

The place ``TO_PARENT`` of a child stands in its outbox from its end until this is done, as any node does whose
dependents do not all know of its end. So whoever dies in between, another process comes here again; a parent that was
told twice says so. What of a result is to be put aside for the parent is so first; a process that must not wait for
that puts the telling off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from taskmesh.dispatch.children.outcomes import LATER, Later, outcomes_of
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.lookup import LookedUp, look_up
from taskmesh.dispatch.maps.gathering import Child
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.plans import Plans
from taskmesh.errors import WireError
from taskmesh.payload.large_values import NOWHERE, LargeValues
from taskmesh.store.calls import Renewed
from taskmesh.store.controls import Controls
from taskmesh.store.family import News, Outcome, Parent
from taskmesh.store.family_reader import FamilyReader
from taskmesh.store.store import Store

_log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """A run that has ended, and its flow."""

    run_id: str
    plan: Plan


def leave(ended: Ended) -> None:
    """Put a telling off for others: its place in the outbox brings it to a worker."""


PutOff: TypeAlias = "Callable[[Ended], None]"


class Parents:
    """Tells the nodes that wait for child runs.

    Tellings for which something is to be fetched, or put aside, are ``put_off``; where that is None they are done here.
    """

    def __init__(self, store: Store, large: LargeValues = NOWHERE, put_off: PutOff | None = leave) -> None:
        self._large = large
        self._put_off = put_off
        self._controls = Controls(store)
        self._reader = FamilyReader.of(store)
        self._plans = Plans(self._reader.flow_body)

    def tell(self, ended: Sequence[Ended]) -> list[Ready | Later | None]:
        """For each child, the node that is ready by that, or None. One that goes on again has nothing to tell.

        ``LATER`` where that was put off.

        :raises StoreUnavailableError: some may have been told; tell all again.
        :raises PayloadUnavailableError: so they may, where nothing is put off.
        """
        rows = self._reader.fields_of_runs([each.run_id for each in ended], ("parent",))
        parents = [read_parent(each.run_id, packed) for each, (packed,) in zip(ended, rows, strict=True)]
        found = [(at, parent) for at, parent in enumerate(parents) if parent is not None]
        children = [Child(ended[at].run_id, ended[at].plan, parent.run_id, parent.ticket) for at, parent in found]
        outcomes = outcomes_of(self._reader, children, self._large, self._put_off is None)
        nodes = look_up(self._reader, self._plans, [parent.key for _, parent in found])
        told = [
            (at, node, outcome)
            for (at, _), node, outcome in zip(found, nodes, outcomes, strict=True)
            if isinstance(outcome, Outcome) and node.plan is not None
        ]
        answers = self._controls.tell_parents([_news(node, outcome) for _, node, outcome in told]) if told else []
        ready: list[Ready | Later | None] = [None] * len(ended)
        for (at, _), outcome in zip(found, outcomes, strict=True):
            if isinstance(outcome, Later) and self._put_off is not None:
                self._put_off(ended[at])
                ready[at] = LATER
        for (at, node, _), answer in zip(told, answers, strict=True):
            ready[at] = _ready(node, answer)
        return ready


def read_parent(run_id: str, packed: bytes | None) -> Parent | None:
    """Whom a run tells its end; None where it tells nobody, or that cannot be read."""
    try:
        return Parent.read(packed) if packed else None
    except (WireError, TypeError) as error:
        _log.error("the parent of run %s cannot be read: %s", run_id, error, extra={"run": run_id})
        return None


def _news(node: LookedUp, outcome: Outcome) -> News:
    assert node.plan is not None
    return News(node.key, node.plan.pool_of(node.key.node), outcome.ticket, outcome.packed())


def _ready(node: LookedUp, answer: Renewed) -> Ready | None:
    if not answer.token or node.plan is None:
        return None
    return Ready(node.plan, node.key.run_id, node.key.node, node.shard_key, answer.attempt, answer.token)
