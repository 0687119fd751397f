"""Which versions the registered flows have that a run begins by their names: those of the moment when it is submitted.

The versions of all flows that it can reach are pinned together, and its children get the same pins. So whatever is
activated meanwhile, one run is made of one set of flows; and a name that is wrong is told before anything begins.
"""

from __future__ import annotations

from dataclasses import replace

from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.registered import Registered
from taskmesh.errors import FlowError, FlowVersionError
from taskmesh.model.events.waits import Awaited
from taskmesh.store.flow_versions import flow_versions_of
from taskmesh.store.store import Store
from taskmesh.wire import pack

MAX_PINS = 1000


class Pins:
    """Pins the versions of runs that want in. Safe in threads."""

    def __init__(self, store: Store) -> None:
        self._registered = Registered(flow_versions_of(store))

    def pinned(self, entrance: Entrance) -> Entrance:
        """The same run with the versions of what it begins, if it names any.

        :raises FlowVersionError: a flow that it names is not registered, or has no such version, or that is archived.
        """
        if not entrance.plan.references:
            return entrance
        awaited: dict[Awaited, None] = {}
        pins = pack(self._pins(entrance.plan, awaited))
        return replace(entrance, further=(*entrance.further, "pins", pins), awaited=tuple(awaited))

    def _pins(self, plan: Plan, awaited: dict[Awaited, None]) -> dict[str, list[str]]:
        """The versions; what their nodes wait for is added to ``awaited``."""
        pins: dict[str, list[str]] = {}
        waiting = [(plan.flow.name, reference) for reference in plan.references]
        while waiting:
            flow, reference = waiting.pop()
            if reference in pins:
                continue
            if len(pins) >= MAX_PINS:
                raise FlowError([f"flow {plan.flow.name!r} reaches more than {MAX_PINS} registered flows"])
            try:
                version = self._registered.usable(reference)
            except FlowVersionError as error:
                raise FlowVersionError(error.flow, f"flow {flow!r} begins {reference!r}: {error}") from None
            pins[reference] = [version.name, version.hash]
            inner = self._registered.plan(version)
            awaited |= dict.fromkeys(inner.awaited)
            waiting += [(inner.flow.name, each) for each in inner.references]
        return pins
