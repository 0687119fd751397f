"""The plans that a process keeps at hand."""

from __future__ import annotations

import threading
from collections.abc import Callable

from taskmesh.dispatch.plan import Plan
from taskmesh.wire.flows import flow_hash


class Plans:
    """The plans that this process has seen last, at most ``capacity`` of them. Safe in threads.

    Beside them as many of flows of copies: there is one for each number of items, and they are made in no time, so they
    must not drive those out that are not.
    """

    def __init__(self, fetch: Callable[[str, str], bytes | None], capacity: int = 256) -> None:
        self._fetch = fetch
        self._capacity = capacity
        self._plans: dict[str, Plan] = {}
        self._copied: dict[str, Plan] = {}
        self._lock = threading.Lock()

    def add(self, plan: Plan) -> None:
        plans = self._copied if plan.flow.copies else self._plans
        with self._lock:
            plans[plan.hash] = plan
            while len(plans) > self._capacity:
                del plans[next(iter(plans))]

    def of_body(self, body: bytes) -> Plan:
        """The plan of a flow's bytes.

        :raises WireError: as of ``Plan.from_body``.
        """
        plan = self._known(flow_hash(body))
        if plan is None:
            plan = Plan.from_body(body)
            self.add(plan)
        return plan

    def get(self, hash_: str, run_id: str) -> Plan | None:
        """The plan with this hash, from the cache or from the partition of ``run_id``; None where neither has it."""
        plan = self._known(hash_)
        if plan is None:
            body = self._fetch(hash_, run_id)
            if body is None:
                return None
            plan = Plan.from_body(body)
            self.add(plan)
        return plan

    def _known(self, hash_: str) -> Plan | None:
        return self._plans.get(hash_) or self._copied.get(hash_)
