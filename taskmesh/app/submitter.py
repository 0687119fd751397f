"""The ways to submit runs from a mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from taskmesh.app.run import Run
from taskmesh.app.submittable import FlowFinder, Submittable, arguments_of
from taskmesh.app.submitting import SubmitOptions, refuse_names_of_params

if TYPE_CHECKING:
    from taskmesh.app.producer import Producer
    from taskmesh.dispatch.plan import Plan
    from taskmesh.model.flow import Flow
    from taskmesh.tasks.task import Task


class Submitter:
    """What a mesh submits with; each way has a twin for asyncio."""

    _finder: FlowFinder

    @property
    def _working(self) -> Producer:
        raise NotImplementedError

    def submit(
        self,
        what: Submittable,
        /,
        *,
        id: str | None = None,
        tags: Mapping[str, str] | None = None,
        deadline_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
        request_id: str | None = None,
        tenant: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        **params: Any,
    ) -> Run:
        """Submit one run. When this returns, the run is accepted: it will end, whatever dies.

        The same ``id`` with the same flow and parameters is the same run, however often it is submitted. A run that is
        not finished ``deadline_seconds`` after that fails: what runs is killed, nothing more is begun or tried again.
        The run of a registered flow, as ``mesh.submit("order@3", ...)``, keeps the version that the name meant now.

        ``metadata`` and what follows are said of the request that the run serves, and reach each of its tasks; what a
        task does not say when it submits a run is taken from its own run. A parameter of the flow that has the name of
        one of these options is given by ``submit_params``.

        :raises FlowVersionError: no such version is registered, or it is archived.
        :raises FlowError: the flow or the parameters break rules. :raises RunConflictError: ``id`` has another body.
        :raises StoreUnavailableError: Redis does not answer; submit again with the same id.
        :raises PayloadUnavailableError: what is large cannot be put aside now; submit again with the same id.
        """
        options: SubmitOptions = {
            "tags": tags,
            "deadline_seconds": deadline_seconds,
            "metadata": metadata,
            "request_id": request_id,
            "tenant": tenant,
            "traceparent": traceparent,
            "tracestate": tracestate,
        }
        flow = self._finder.flow_of(what)
        refuse_names_of_params(what, flow, options)
        [run] = self._submit(what, flow, [params], None if id is None else [id], options)
        return run

    def submit_params(
        self,
        what: Submittable,
        params: Mapping[str, Any],
        *,
        id: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Run:
        """``submit`` with the parameters as one mapping."""
        [run] = self.submit_many(what, [params], ids=None if id is None else [id], **options)
        return run

    def submit_many(
        self,
        what: Submittable,
        params: Sequence[Mapping[str, Any]],
        *,
        ids: Sequence[str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> list[Run]:
        """Submit many runs of one flow, pipelined: much faster than one by one."""
        return self._submit(what, self._finder.flow_of(what), params, ids, options)

    def _submit(
        self,
        what: Submittable,
        flow: Flow | Plan,
        params: Sequence[Mapping[str, Any]],
        ids: Sequence[str] | None,
        options: SubmitOptions,
    ) -> list[Run]:
        checked = arguments_of(what, params)
        return self._working.submit(flow, checked, ids, options)

    async def asubmit(self, what: Submittable, /, **options_and_params: Any) -> Run:
        """``submit`` for asyncio."""
        return await asyncio.to_thread(self.submit, what, **options_and_params)

    async def asubmit_many(
        self,
        what: Submittable,
        params: Sequence[Mapping[str, Any]],
        *,
        ids: Sequence[str] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> list[Run]:
        """``submit_many`` for asyncio."""
        return await asyncio.to_thread(self.submit_many, what, params, ids=ids, **options)

    def publish_event(
        self, type: str, data: Any = None, /, *, id: str | None = None, source: str | None = None
    ) -> list[Run]:
        """Begin a run of each registered flow whose active version subscribes to events like this one, and end waits.

        Returns those runs. Nodes that wait for such an event have it then, and later ones find it. Published again with
        the same ``id`` and ``source`` it is the same event, and begins nothing new; without an ``id`` it is a new one.
        ``data`` are plain values. A flow that gathers events begins no run yet, but has this one in a batch when this
        returns.

        :raises EventError: it is no event, or a flow or a node cannot take it; all that can have it.
        :raises StoreUnavailableError: Redis does not answer; publish again with the same id.
        """
        working = self._working
        return [Run(working.client, run_id) for run_id in working.events.publish(type, data, id, source)]

    async def apublish_event(
        self, type: str, data: Any = None, /, *, id: str | None = None, source: str | None = None
    ) -> list[Run]:
        """``publish_event`` for asyncio."""
        return await asyncio.to_thread(self.publish_event, type, data, id=id, source=source)

    def send(self, task: Task[Any, Any], arguments: dict[str, Any]) -> Run:
        """What ``task.send(...)`` calls."""
        return self.submit_params(task, arguments)

    async def asend(self, task: Task[Any, Any], arguments: dict[str, Any]) -> Run:
        """What ``task.asend(...)`` calls."""
        return await asyncio.to_thread(self.send, task, arguments)
