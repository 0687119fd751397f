"""The part of a handle of a run that sends its nodes what they wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmesh.client.client import Client


class RunSignals:
    """Signals and decisions for nodes of one run."""

    __slots__ = ("_client", "id")

    _client: Client
    id: str

    def signal(self, name: str, payload: Any = None, *, id: str | None = None, by: str | None = None) -> bool:
        """Send a signal, by its name or the name of the node that waits for it; its payload is the node's output.

        One that comes before the node is ready is kept. The first one counts; the same ``id`` is the same signal, for
        which this is False when it had come before. ``by`` is kept with it; by default this process's user.

        :raises UsageError: nothing waits for such a signal, or the payload does not keep to its schema.
        :raises RunStateError: the run or the node has ended, or another signal came first.
        :raises TooLargeError: the payload is over its limit.
        """
        return self._client.signalling.signal(self.id, name, payload, by or _user(), id)

    def approve(self, node: str, comment: str = "", *, by: str | None = None) -> bool:
        """Approve what a node asks for, which goes on then; False when the same person had done so before.

        Who, when and the comment are its output.

        :raises UsageError: the node waits for no decision.
        :raises RunStateError: the run or the node has ended, or somebody else has decided before.
        """
        return self._decide(node, True, comment, by)

    def reject(self, node: str, comment: str = "", *, by: str | None = None) -> bool:
        """Reject what a node asks for, which fails then, with who and why; errors as of ``approve``."""
        return self._decide(node, False, comment, by)

    def _decide(self, node: str, approved: bool, comment: str, by: str | None) -> bool:
        from taskmesh.store.calls import Who

        return self._client.signalling.decide(self.id, node, approved, Who(by or _user(), comment))

    async def asignal(self, name: str, payload: Any = None, *, id: str | None = None, by: str | None = None) -> bool:
        """``signal`` for asyncio."""
        return await asyncio.to_thread(self.signal, name, payload, id=id, by=by)

    async def aapprove(self, node: str, comment: str = "", *, by: str | None = None) -> bool:
        """``approve`` for asyncio."""
        return await asyncio.to_thread(self.approve, node, comment, by=by)

    async def areject(self, node: str, comment: str = "", *, by: str | None = None) -> bool:
        """``reject`` for asyncio."""
        return await asyncio.to_thread(self.reject, node, comment, by=by)


def _user() -> str:
    from taskmesh.client.identity import this_user

    return this_user()
