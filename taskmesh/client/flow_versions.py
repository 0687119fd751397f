"""Registered flows as a person deals with them: push, look, compare, activate, roll back, archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from taskmesh.client.flow_refusals import moved, prepared, refuse, short_enough
from taskmesh.client.identity import this_user
from taskmesh.client.verdicts import checked
from taskmesh.dispatch.plan import Plan
from taskmesh.dispatch.registered import VERSIONS_PER_PAGE, Registered
from taskmesh.errors import FlowVersionError, UsageError
from taskmesh.flows import flow_document
from taskmesh.model.differences import Difference, differences
from taskmesh.model.flow import Flow
from taskmesh.model.flow_versions import (
    FlowChange,
    FlowReference,
    FlowVersion,
    RegisteredFlow,
    VersionState,
)
from taskmesh.store.calls import Who
from taskmesh.store.flow_versions import FlowVersions
from taskmesh.tasks.flow import FlowDefinition

CHANGES_KEPT = 10_000
"""As many as the scripts keep of a flow."""


class Pushed(NamedTuple):
    """What a push came to: the version with this content, and whether it is new."""

    version: FlowVersion
    is_new: bool


class FlowBox:
    """The registered flows. A reference is ``NAME``, ``NAME@NUMBER`` or ``NAME@latest``. Safe in threads.

    ``NAME`` means the active version, ``NAME@latest`` the newest that is neither a draft nor archived.
    """

    def __init__(self, versions: FlowVersions) -> None:
        self._versions = versions
        self._registered = Registered(versions)

    def push(
        self,
        what: Flow | FlowDefinition[Any],
        *,
        message: str = "",
        draft: bool = False,
        activate: bool = False,
        author: str = "",
    ) -> Pushed:
        """Keep a flow as a new version; where a version has this content already, that is the answer.

        It is active only with ``activate``. A ``draft`` runs only when it is named by its number.
        ``author`` is the user of this process by default.

        :raises FlowError: it breaks rules; nothing is kept. :raises TooLargeError: it has over 8 MiB.
        :raises UsageError: its name or the message cannot be kept. :raises FlowVersionError: it cannot be activated.
        """
        if draft and activate:
            raise UsageError("a draft is not active; push it with draft or with activate, not both")
        flow = what if isinstance(what, Flow) else what.compile()
        body = prepared(flow)
        who = checked(Who(author or this_user()))._replace(why=short_enough(message))
        answer = self._versions.push(flow.name, body, who, draft)
        if activate:
            self._activate(flow.name, answer.number, None, who)
        return Pushed(self._registered.required(flow.name, answer.number), answer.word == "pushed")

    def version_of(self, flow: Flow) -> FlowVersion | None:
        """The version that has this content; None where a push would make a new one. Errors as of ``push``."""
        number = self._versions.number_of(flow.name, prepared(flow).hash)
        return None if number is None else self._registered.required(flow.name, number)

    def list(self) -> Sequence[RegisteredFlow]:
        """All registered flows, in alphabetical order."""
        return [flow for flow in self._versions.flows(self._versions.names()) if flow is not None]

    def versions(self, name: str, limit: int = VERSIONS_PER_PAGE, before: int | None = None) -> Sequence[FlowVersion]:
        """Versions of a flow, the newest first: a page of at most ``limit``, of those ``before`` a number.

        :raises FlowVersionError: no flow has this name.
        """
        newest = self._registered.flow(name).latest
        if before is not None:
            newest = min(newest, before - 1)
        return self._registered.read(name, range(newest, max(0, newest - limit), -1))

    def get(self, reference: str) -> FlowVersion:
        """The version that a reference means, whatever its state.

        :raises FlowVersionError: there is none. :raises UsageError: it is no reference.
        """
        return self._registered.find(FlowReference.parse(reference))

    def active(self, name: str) -> int | None:
        """The number of the active version; None where none is, or where no flow has this name."""
        [flow] = self._versions.flows([name])
        return flow.active if flow else None

    def was_active(self, version: FlowVersion) -> bool:
        """Whether a version has ever been activated, as far as the log tells."""
        changes = self._versions.log(version.name, CHANGES_KEPT)
        return any(each.number == version.number and each.kind in ("activate", "rollback") for each in changes)

    def definition(self, reference: str) -> Flow:
        """The flow itself; errors as of ``get``."""
        return self._registered.plan(self.get(reference)).flow

    def plan(self, reference: str) -> Plan:
        """What is submitted by a reference.

        :raises FlowVersionError: there is no such version, or it is archived. :raises UsageError: it is no reference.
        """
        return self._registered.plan(self._registered.usable(reference))

    def diff(self, before: str | Flow, after: str | Flow) -> Sequence[Difference]:
        """What differs in meaning between two versions or flows, in the words of flow files; empty where nothing does.

        :raises FlowVersionError: a version is not there.
        """
        first, second = (self.definition(each) if isinstance(each, str) else each for each in (before, after))
        return tuple(differences(flow_document(first), flow_document(second)))

    def activate(self, reference: str, *, expected: int | None = None, reason: str = "") -> FlowVersion:
        """Make a version the active one of its name, a draft or an older one, too.

        With ``expected``, only if that version is active until then (0 = none is).

        :raises FlowVersionError: there is no such version, it is archived, or another than ``expected`` is active.
        """
        version = self.get(reference)
        self._activate(version.name, version.number, expected, checked(Who(this_user(), reason)))
        return self._registered.required(version.name, version.number)

    def rollback(self, name: str, *, expected: int | None = None, reason: str = "") -> FlowVersion:
        """Activate the version that was active before the one that is; archived ones are passed over.

        :raises FlowVersionError: none was, no flow has this name, or another than ``expected`` is active.
        """
        active = self._registered.flow(name).active or 0
        if expected is not None and expected != active:
            raise moved(name, expected, active)
        target = self._before(name)
        # Only from what was seen: who asks again, as the answer was lost, must not go two steps back.
        self._activate(name, target, active, checked(Who(this_user(), reason)), "rollback")
        return self._registered.required(name, target)

    def archive(self, reference: str, *, reason: str = "") -> FlowVersion:
        """Let a version be submitted and activated no more; runs of it go on.

        :raises FlowVersionError: there is no such version, or it is active.
        """
        version = self.get(reference)
        answer = self._versions.archive(version.name, version.number, checked(Who(this_user(), reason)))
        if answer.word == "active":
            raise FlowVersionError(
                version.name, f"{version.reference} is active and cannot be archived; activate another version first"
            )
        return self._registered.required(version.name, version.number)

    def restore(self, reference: str, *, reason: str = "") -> FlowVersion:
        """Take an archived version back; it is a draft again if it was one, else inactive.

        :raises FlowVersionError: there is no such version.
        """
        version = self.get(reference)
        self._versions.restore(version.name, version.number, checked(Who(this_user(), reason)))
        return self._registered.required(version.name, version.number)

    def log(self, name: str, limit: int = VERSIONS_PER_PAGE) -> Sequence[FlowChange]:
        """What was done to a flow, the newest first; the newest 10,000 changes are kept.

        :raises FlowVersionError: no flow has this name.
        """
        return self._versions.log(self._registered.flow(name).name, limit)

    def _activate(self, name: str, number: int, expected: int | None, who: Who, kind: str = "activate") -> None:
        refuse(name, number, expected, self._versions.activate(name, number, expected, who, kind))

    def _before(self, name: str) -> int:
        """The version that a rollback leads to."""
        trail = self._versions.trail(name)[::-1]
        usable = {each.number for each in self._registered.read(name, trail) if each.state is not VersionState.ARCHIVED}
        target = next((number for number in trail if number in usable), None)
        if target is None:
            raise FlowVersionError(name, f"no version of flow {name!r} was active before that could be gone back to")
        return target
