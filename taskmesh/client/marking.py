"""Ends single nodes by hand: skips them, or takes them for succeeded."""

from __future__ import annotations

from typing import Any

from taskmesh.client.copies import WHY_NOT
from taskmesh.client.items import Found, Items
from taskmesh.client.parts import ClientParts
from taskmesh.client.restarting import Restarting
from taskmesh.client.verdicts import checked, half_done
from taskmesh.dispatch.advance import Advance, Advancer
from taskmesh.dispatch.children.begun import begun_by
from taskmesh.dispatch.children.children import ends_with_parent
from taskmesh.dispatch.children.parents import Parents
from taskmesh.dispatch.dispatcher import outgoing
from taskmesh.dispatch.marks import Mark
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import RunNotFoundError, RunStateError, TooLargeError, UsageError
from taskmesh.model.states import RETRIABLE_RUN_STATES, NodeState, RunState
from taskmesh.store.calls import NodeKey, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import run_of_ticket, ticket_of
from taskmesh.store.records import BY_HAND
from taskmesh.wire.claim_checks import pack_output


class Marking:
    """What people decide over single nodes of a run that goes on."""

    def __init__(self, parts: ClientParts, max_value_bytes: int) -> None:
        self._parts = parts
        self._max_value_bytes = max_value_bytes
        self._advancer = Advancer(parts.store, Parents(parts.store, parts.large))
        self._items = Items(parts)
        self._restarting = Restarting(parts)

    def succeed(self, run_id: str, node: str, output: Any, who: Who) -> bool:
        """Take an unfinished node, or item of a map, for succeeded, with this output; False when it was so before.

        :raises TooLargeError: the output is over its limit. :raises RunStateError: it had ended, or the run has.
        """
        packed = pack_output(output)
        if len(packed) > self._max_value_bytes:
            raise TooLargeError(
                f"the output of node {node!r} has {len(packed)} bytes; "
                f"limits.max_value_bytes allows {self._max_value_bytes}"
            )
        return self._end(run_id, node, NodeState.SUCCEEDED, packed, who)

    def skip(self, run_id: str, node: str, who: Who) -> bool:
        """Skip an unfinished node, and with it all that depends on it; False when it was so before."""
        return self._end(run_id, node, NodeState.SKIPPED, b"", who)

    def _end(self, run_id: str, node: str, state: NodeState, output: bytes, who: Who) -> bool:
        named = self._items.find(run_id, node)
        found = self._restarting.plan_of(named.run_id)
        if found is None:
            raise RunNotFoundError(named.run_id)
        plan, shard_key = found
        if plan.is_undo(named.place):
            raise UsageError(f"{node!r} is an undo, and undos are not ended by hand")
        key = NodeKey(named.run_id, named.place)
        children = self._children(plan, key)
        [advance] = self._advancer.mark([Mark(plan, key, shard_key, state, output, cause_of(who))])
        if advance.word not in (Word.MARKED, Word.AGAIN):
            raise RunStateError(run_id, _why_not(run_id, node, named, advance))
        self._parts.publisher.publish([outgoing(each) for each in advance.ready])
        if children and ends_with_parent(plan, key.node):
            # Nobody waits for its child any more.
            Controls(self._parts.store).halt_runs(children, RunState.CANCELLED, checked(who))
        return advance.word is Word.MARKED

    def _children(self, plan: Plan, key: NodeKey) -> list[str]:
        """The run that a node waits for, or may have begun."""
        [record] = self._parts.reader.node_records([key])
        if record is None:
            return []
        if ticket := ticket_of(record.cause):
            return [run_of_ticket(ticket)]
        return [child for _, child in begun_by(self._parts.reader, plan, key.run_id, {key.node: record})]


def cause_of(who: Who) -> str:
    """Who ended a node by hand, and why, as it is kept with the node."""
    by, why = checked(who)
    return f"{BY_HAND}{by}" + (f": {why}" if why else "")


def _why_not(run_id: str, node: str, named: Found, advance: Advance) -> str:
    word, status = advance.word, advance.run_status
    if word is Word.PREPARING:
        return half_done(run_id, status)
    if word is Word.EARLY:
        return f"goes on, and its node {node!r} waits for its turn; it can be skipped or marked when that has come"
    if word is not Word.ENDED:
        return "is not in the store any more, or is damaged there"
    if RunState(status).ended and named.map_place is not None:
        again = f"`taskmesh rerun {run_id} --from '{node}'` runs it again once the run has ended"
        return f"has a map whose items have ended, and with them {node!r}; {again}"
    if RunState(status).ended and named.plan.flow.copies:
        return f"has ended: {status}; it {WHY_NOT}"
    if RunState(status).ended:
        again = f"; `taskmesh retry {run_id}` lets it go on" if RunState(status) in RETRIABLE_RUN_STATES else ""
        return f"has ended: {status}{again}"
    return f"goes on, but its node {node!r} has ended; what has ended stays as it is until the run is run again"
