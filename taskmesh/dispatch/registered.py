"""Registered flows by what names them: a version, and the plan of its body."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import FlowVersionError
from taskmesh.model.flow_versions import FlowReference, FlowVersion, RegisteredFlow, VersionState
from taskmesh.model.problems import Hints
from taskmesh.store.flow_versions import FlowVersions

VERSIONS_PER_PAGE = 100
PLANS_KEPT = 256


class Registered:
    """Finds versions of registered flows. Safe in threads."""

    def __init__(self, versions: FlowVersions) -> None:
        self._versions = versions
        self._plans: dict[str, Plan] = {}
        self._lock = threading.Lock()

    def flow(self, name: str) -> RegisteredFlow:
        """:raises FlowVersionError: no flow has this name."""
        [flow] = self._versions.flows([name])
        if flow is None:
            hint = Hints(self._versions.names()).did_you_mean(name)
            raise FlowVersionError(name, f"no flow {name!r} is registered{hint or '; `taskmesh flow ls` lists them'}")
        return flow

    def find(self, reference: FlowReference) -> FlowVersion:
        """The version that a reference means, whatever its state.

        :raises FlowVersionError: there is none.
        """
        if reference.number is not None:
            return self.required(reference.name, reference.number)
        flow = self.flow(reference.name)
        if reference.latest:
            return self._latest(flow)
        if flow.active is None:
            raise FlowVersionError(
                flow.name,
                f"no version of flow {flow.name!r} is active; `taskmesh flow activate {flow.name}@{flow.latest}` "
                "activates the newest one",
            )
        return self.required(flow.name, flow.active)

    def usable(self, reference: str) -> FlowVersion:
        """The version that can be submitted by a reference.

        :raises FlowVersionError: there is none, or it is archived. :raises UsageError: it is no reference.
        """
        version = self.find(FlowReference.parse(reference))
        if version.state is VersionState.ARCHIVED:
            raise archived(version.name, version.number)
        return version

    def required(self, name: str, number: int) -> FlowVersion:
        """:raises FlowVersionError: the flow has no such version."""
        for version in self.read(name, [number]):
            return version
        flow = self.flow(name)
        raise FlowVersionError(name, f"flow {name!r} has no version {number}; its newest is {flow.latest}")

    def read(self, name: str, numbers: Sequence[int]) -> Sequence[FlowVersion]:
        """Those of the versions that are there."""
        found = self._versions.versions([(name, number) for number in numbers])
        return [version for version in found if version is not None]

    def plan(self, version: FlowVersion) -> Plan:
        """:raises FlowVersionError: its body is not there."""
        plan = self._plans.get(version.hash)
        if plan is None:
            body = self._versions.body(version)
            if body is None:
                raise FlowVersionError(
                    version.name, f"the store has lost the body of {version.reference}; push it again"
                )
            plan = Plan.from_body(body)
            with self._lock:
                while len(self._plans) >= PLANS_KEPT:
                    del self._plans[next(iter(self._plans))]
                self._plans[version.hash] = plan
        return plan

    def _latest(self, flow: RegisteredFlow) -> FlowVersion:
        for newest in range(flow.latest, 0, -VERSIONS_PER_PAGE):
            for version in self.read(flow.name, range(newest, max(0, newest - VERSIONS_PER_PAGE), -1)):
                if version.state in (VersionState.ACTIVE, VersionState.INACTIVE):
                    return version
        raise FlowVersionError(
            flow.name, f"every version of flow {flow.name!r} is a draft or archived; name its number"
        )


def archived(name: str, number: int) -> FlowVersionError:
    """What is said when an archived version is to be used."""
    sentence = f"{name}@{number} is archived; `taskmesh flow restore {name}@{number}` takes it back"
    return FlowVersionError(name, sentence)
