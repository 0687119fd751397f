"""A handle of one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskmesh.app.run_signals import RunSignals

if TYPE_CHECKING:
    from taskmesh.client.client import Client
    from taskmesh.client.counting import Counted
    from taskmesh.client.details import NodeDetails, RunDetails, RunEvent
    from taskmesh.client.explaining import RunExplanation
    from taskmesh.dispatch.plan import Plan
    from taskmesh.model.flow import Flow
    from taskmesh.model.states import RunState
    from taskmesh.store.calls import Who


class Run(RunSignals):
    """One run, by its id. Cheap to make; asks the store each time. Timeouts are in seconds, None = wait for ever."""

    __slots__ = ("_plan",)

    def __init__(self, client: Client, run_id: str, plan: Plan | None = None) -> None:
        self._client = client
        self._plan = plan
        self.id = run_id

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def status(self) -> RunState:
        """:raises RunNotFoundError: no such run, or its retention is over."""
        return self._client.status(self.id)

    def wait(self, timeout: float | None = None) -> RunState:
        """Block until the run has ended.

        :raises ResultTimeoutError: it had not ended when the time was over.
        :raises RunLostError: it was accepted, and a failover or a restart of Redis has lost it.
        """
        return self._client.wait(self.id, timeout, accepted=self._plan is not None)

    def result(self, timeout: float | None = None) -> Any:
        """Block until the run has ended; returns what the flow returns.

        :raises RunFailedError: it failed. :raises RunCancelledError: it was cancelled.
        :raises CompensationFailedError: it did either, and what it had done could not all be undone.
        :raises ResultTimeoutError: it had not ended when the time was over.
        :raises RunLostError: it was accepted, and a failover or a restart of Redis has lost it.
        """
        return self._client.result(self.id, timeout, self._plan)

    def details(self, *, fetch_outputs: bool = True) -> RunDetails:
        """Everything that is stored of the run and its nodes; without outputs that were put aside, where so wished."""
        return self._client.details(self.id, fetch_outputs)

    def counted(self, children: Sequence[str]) -> dict[str, Counted]:
        """How far child runs of it are, of which each node is an item of a map."""
        return self._client.counted(children)

    def node(self, name: str) -> NodeDetails:
        """Everything that is stored of one node, or of one item of a map, by its name: ``NODE[PLACE]``, counted from 0.

        :raises UsageError: there is no such node, or item. :raises RunStateError: the map has no items yet.
        """
        return self._client.node(self.id, name)

    def explain(self, node: str | None = None, limit: int | None = 20) -> RunExplanation:
        """What each unfinished node waits for, and until when; at most ``limit`` of them, None = all. Or one node.

        :raises UsageError: there is no such node. :raises RunStateError: the map of such an item has none yet.
        """
        return self._client.explain(self.id, node, limit)

    def history(self, node: str | None = None) -> list[RunEvent]:
        """Every transition that has happened, in order, with its attempt, worker and cause; or those of one node.

        :raises UsageError: there is no such node.
        """
        return self._client.history(self.id, node)

    def watch(self) -> Iterator[RunEvent]:
        """What happened and what happens, until the run ends."""
        return self._client.watch(self.id)

    def pause(self, reason: str = "") -> bool:
        """Let nothing more start until ``resume``; False when the run had ended before. What runs now goes on.

        Who did it and ``reason`` are kept with the run.

        :raises RunStateError: it is being cancelled.
        """
        return self._client.control.pause([self.id], who(reason))[0].accepted()

    def resume(self) -> bool:
        """Let a paused run go on; False when it had ended before. Nothing happens to one that is not paused."""
        return self._client.control.resume([self.id])[0].accepted()

    def cancel(self, reason: str = "", *, compensate: bool = False) -> bool:
        """Let nothing more start; False when the run had ended before. What runs now may end.

        With ``compensate`` what had succeeded by then is undone, whatever the flow's ``on_failure`` is.

        :raises RunStateError: ``compensate`` of a run none of whose nodes can be undone.
        """
        return self._client.control.cancel([self.id], who(reason), compensate)[0].accepted()

    def compensate(self) -> None:
        """Undo what a run did that has failed or was cancelled; go on where undos had failed. Again is fine.

        :raises RunStateError: the run has not ended so, or has nothing to undo.
        """
        self._client.compensate(self.id)

    def terminate(self, reason: str = "") -> bool:
        """End the run at once, as ``terminated``; False when it had ended otherwise before.

        What its tasks are doing is not waited for, and counts no more.
        """
        return self._client.control.terminate([self.id], who(reason))[0].accepted()

    def retry(self, reason: str = "", *, node: str | None = None) -> bool:
        """Let a run that has ended go on from what did not succeed: that runs again, with attempts of its own.

        Of a map, those items run again that have not succeeded; the others keep their outputs. ``node`` may name a map
        that has succeeded though items of it have failed, and what depends on it runs again, too; or one of its items,
        ``NODE[PLACE]``: then others that have failed stay so. Who dies meanwhile leaves a run that is paused for it;
        the same call finishes that.

        :raises UsageError: there is no such node, or item.
        :raises RunStateError: it goes on, or has succeeded, or has been undone; or ``node`` has nothing to retry.
        """
        if node is not None:
            return self._client.control.retry_node(self.id, node, who(reason)).accepted()
        return self._client.control.retry([self.id], who(reason))[0].accepted()

    def rerun(self, node: str, reason: str = "") -> bool:
        """``retry``, and ``node`` with all that depends on it, too, though they have succeeded.

        It may be an item of a map, ``NODE[PLACE]``; named as a whole, a map begins anew with all of its items.
        """
        return self._client.control.rerun(self.id, node, who(reason)).accepted()

    def flow(self) -> Flow:
        """What it is a run of."""
        return self._client.flow(self.id)

    def fork(
        self,
        *nodes: str,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,
        deadline_seconds: float | None = None,
        reason: str = "",
    ) -> Run:
        """Make a new run that takes over what this one has done, and runs the rest: maybe with other ``params``.

        It runs again ``nodes``, all that depends on them, and all that has not succeeded; where none are named, what
        reads a changed parameter, and all that depends on that. This run may go on, and is not changed. The same ``id``
        with the same wish is the same run; who dies meanwhile leaves a run that is paused for it: the same call with
        that ``id``, or ``resume``, finishes it.

        :raises UsageError: there is no such node, or a node that would be taken over has read what is changed.
        :raises RunStateError: this run is being undone, or was. :raises RunConflictError: ``id`` is another run's.
        """
        from taskmesh.client.forking import ForkWish

        wish = ForkWish(nodes, dict(params or {}), id, deadline_seconds)
        return Run(self._client, self._client.control.fork(self.id, wish, who(reason)))

    def mark(self, node: str, output: Any = None, reason: str = "") -> bool:
        """Take a node that has not ended for succeeded, with this output; False when that was done before.

        It may be an item of a map, ``NODE[PLACE]``. What depends on it goes on; an attempt that runs counts no more.

        :raises RunStateError: the node has ended, or the run. :raises TooLargeError: the output is over its limit.
        """
        return self._client.marking.succeed(self.id, node, output, who(reason))

    def skip(self, node: str, reason: str = "") -> bool:
        """Skip a node that has not ended, and with it all that depends on it; errors as of ``mark``."""
        return self._client.marking.skip(self.id, node, who(reason))

    async def astatus(self) -> RunState:
        """``status`` for asyncio."""
        return await asyncio.to_thread(self.status)

    async def await_end(self, timeout: float | None = None) -> RunState:
        """``wait`` for asyncio."""
        return await asyncio.to_thread(self.wait, timeout)

    async def aresult(self, timeout: float | None = None) -> Any:
        """``result`` for asyncio."""
        return await asyncio.to_thread(self.result, timeout)

    async def adetails(self, *, fetch_outputs: bool = True) -> RunDetails:
        """``details`` for asyncio."""
        return await asyncio.to_thread(self.details, fetch_outputs=fetch_outputs)

    async def anode(self, name: str) -> NodeDetails:
        """``node`` for asyncio."""
        return await asyncio.to_thread(self.node, name)

    async def aexplain(self, node: str | None = None, limit: int | None = 20) -> RunExplanation:
        """``explain`` for asyncio."""
        return await asyncio.to_thread(self.explain, node, limit)

    async def ahistory(self, node: str | None = None) -> list[RunEvent]:
        """``history`` for asyncio."""
        return await asyncio.to_thread(self.history, node)

    async def awatch(self) -> AsyncIterator[RunEvent]:
        """``watch`` for asyncio."""
        events = self.watch()
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event

    async def apause(self, reason: str = "") -> bool:
        """``pause`` for asyncio."""
        return await asyncio.to_thread(self.pause, reason)

    async def aresume(self) -> bool:
        """``resume`` for asyncio."""
        return await asyncio.to_thread(self.resume)

    async def acancel(self, reason: str = "", *, compensate: bool = False) -> bool:
        """``cancel`` for asyncio."""
        return await asyncio.to_thread(self.cancel, reason, compensate=compensate)

    async def acompensate(self) -> None:
        """``compensate`` for asyncio."""
        await asyncio.to_thread(self.compensate)

    async def aterminate(self, reason: str = "") -> bool:
        """``terminate`` for asyncio."""
        return await asyncio.to_thread(self.terminate, reason)

    async def aretry(self, reason: str = "", *, node: str | None = None) -> bool:
        """``retry`` for asyncio."""
        return await asyncio.to_thread(self.retry, reason, node=node)

    async def arerun(self, node: str, reason: str = "") -> bool:
        """``rerun`` for asyncio."""
        return await asyncio.to_thread(self.rerun, node, reason)

    async def afork(
        self,
        *nodes: str,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,
        deadline_seconds: float | None = None,
        reason: str = "",
    ) -> Run:
        """``fork`` for asyncio."""
        return await asyncio.to_thread(
            self.fork, *nodes, params=params, id=id, deadline_seconds=deadline_seconds, reason=reason
        )

    async def amark(self, node: str, output: Any = None, reason: str = "") -> bool:
        """``mark`` for asyncio."""
        return await asyncio.to_thread(self.mark, node, output, reason)

    async def askip(self, node: str, reason: str = "") -> bool:
        """``skip`` for asyncio."""
        return await asyncio.to_thread(self.skip, node, reason)


def who(reason: str) -> Who:
    """This process's user, with a reason."""
    from taskmesh.client.identity import this_user
    from taskmesh.store.calls import Who

    return Who(this_user(), reason)
