"""Ends what is left of halted runs: nodes that no worker claims, be it that their pool has none, or was left.

A halted run stands among the halted ones of its partition until it has ended. The keeper goes through its nodes, ends
what could start as a worker would that claims it, and takes what nobody runs any more. What runs is left to its worker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskmesh.dispatch.advance import Advancer, not_started
from taskmesh.dispatch.dispatcher import Ready
from taskmesh.dispatch.plan import BEFORE_FIRST, BEFORE_HOOKS, Plan
from taskmesh.errors import WireError
from taskmesh.keeper.child_halts import ChildHalts, Halted
from taskmesh.keeper.keeper import KeeperParts
from taskmesh.model.states import NodeState, RunState
from taskmesh.store.aside import aside
from taskmesh.store.calls import Claim, ClaimAnswer, NodeKey, Release, Word
from taskmesh.store.records import NodeRecord

RUNS_PER_LOOK = 40
NODES_PER_PAGE = 200
PAGES_PER_LOOK = 40
"""How many halted runs one look is for, how many nodes it asks for at once, and how often it asks in all."""

AGAIN_SECONDS = 1.0
AGAIN_SECONDS_PER_PAGE = 0.02
"""After all nodes of a run were seen, it is looked at again so much later: what runs may end and make others ready. A
wide run rests longer, so that it costs no more of the store than many small ones."""

UNREADABLE_SECONDS = 60.0

TOLD_ALL = -1

_log = logging.getLogger(__name__)


class _Pass(NamedTuple):
    """How far the nodes of a run have been seen."""

    cursor: int = 0
    pages: int = 0
    acted: bool = False


class Halts:
    """Looks after the halted runs of the partitions that this process leads. One thread.

    ``holder`` is the name by which it claims: it never has a lease, so another may take over at any time what it left.
    For ``grace_seconds`` from its first look, or after a store that did not answer, it takes no holder for dead.
    """

    def __init__(self, parts: KeeperParts, holder: str, grace_seconds: float) -> None:
        self._parts = parts
        self._advancer = Advancer(parts.store)
        self._holder = f"{holder}/halts"
        self._children = ChildHalts(parts, self._holder)
        self._grace_seconds = grace_seconds
        self._watching_since: float | None = None
        self._passes: dict[str, _Pass] = {}

    def forget(self) -> None:
        """Nothing is led any more, or the store was away: the grace begins again."""
        self._watching_since = None
        self._passes.clear()

    async def look(self, now: float) -> bool:
        """End some of what is left; says whether there was anything to look at. ``now`` by the store's clock.

        :raises StoreUnavailableError: the look ended half-way, which does no harm.
        """
        since, self._watching_since = self._watching_since, None
        since = now if since is None else since
        led = dict(self._parts.leadership.epochs)
        run_ids = await aside(self._parts.housekeeping.halted_runs, now, RUNS_PER_LOOK, led)
        pages = PAGES_PER_LOOK
        for run in await self._open(run_ids, now) if run_ids else ():
            pages -= await self._try(run, now, pages, patient=now - since < self._grace_seconds)
            if pages <= 0:
                break
        self._watching_since = since
        return bool(run_ids)

    async def _open(self, run_ids: Sequence[str], now: float) -> list[Halted]:
        """Those that go on to their end; the others are forgotten."""
        rows = await aside(self._parts.reader.fields_of_runs, run_ids, ("status", "halt", "flow", "shard_key"))
        over, unreadable, found = [], [], []
        for run_id, (status, halt, flow_hash, shard_key) in zip(run_ids, rows, strict=True):
            is_terminated = status == RunState.TERMINATED.encode()
            if not is_terminated and (status != RunState.RUNNING.encode() or not halt):
                over.append(run_id)
            elif (plan := await aside(self._plan, (flow_hash or b"").decode(), run_id)) is None:
                unreadable.append(run_id)
            elif is_terminated:
                await self._children.terminate(run_id, plan)
                over.append(run_id)
            else:
                found.append(Halted(run_id, plan, (shard_key or b"").decode(), (halt or b"").decode()))
        await aside(self._parts.housekeeping.forget_halted, over)
        await aside(self._parts.housekeeping.postpone_halted, unreadable, now + UNREADABLE_SECONDS)
        for run_id in over:
            self._passes.pop(run_id, None)
        return found

    def _plan(self, flow_hash: str, run_id: str) -> Plan | None:
        try:
            return self._parts.plans.get(flow_hash, run_id)
        except WireError as error:
            _log.error("the flow of run %s cannot be read: %s", run_id, error, extra={"run": run_id})
            return None

    async def _try(self, run: Halted, now: float, pages: int, patient: bool) -> int:
        """``_go_on``, but what cannot be read makes room for the others."""
        try:
            return await self._go_on(run, now, pages, patient)
        except (WireError, TypeError, ValueError) as error:
            _log.error("a node of run %s cannot be read: %s", run.run_id, error, extra={"run": run.run_id})
            self._passes.pop(run.run_id, None)
            await aside(self._parts.housekeeping.postpone_halted, [run.run_id], now + UNREADABLE_SECONDS)
            return 1

    async def _go_on(self, run: Halted, now: float, pages: int, patient: bool) -> int:
        """See more of the nodes of a run, until something had to be done; returns how many pages of them were read."""
        begun = seen = self._passes.get(run.run_id, _Pass())
        if seen.cursor == 0 and await self._wake(run):
            return 1
        acted = False
        while not acted and seen.pages - begun.pages < pages:
            cursor, records = await aside(
                self._parts.housekeeping.some_records, run.run_id, seen.cursor, NODES_PER_PAGE
            )
            acted = await self._end_all(run, records, patient)
            seen = _Pass(cursor, seen.pages + 1, seen.acted or acted)
            if cursor == 0:
                break
        await self._note(run.run_id, seen, now)
        return seen.pages - begun.pages

    async def _note(self, run_id: str, seen: _Pass, now: float) -> None:
        if seen.cursor:
            self._passes[run_id] = seen
            return
        self._passes.pop(run_id, None)
        # One of which something was ended is looked at again at once: most often it has ended with that.
        if not seen.acted:
            pause_seconds = max(AGAIN_SECONDS, AGAIN_SECONDS_PER_PAGE * seen.pages)
            await aside(self._parts.housekeeping.postpone_halted, [run_id], now + pause_seconds)

    async def _wake(self, run: Halted) -> bool:
        """End nodes that wait for their next attempt; says whether there were any."""
        nodes = await aside(self._parts.housekeeping.retrying_nodes, run.run_id, NODES_PER_PAGE)
        keys = [NodeKey(run.run_id, node) for node in nodes if run.plan.knows(node) and not _runs_always(run, node)]
        pools = [(key, run.plan.pool_of(key.node)) for key in await self._children.waking(run, keys)]
        answers = await aside(self._parts.store.wake_nodes, pools)
        woken = [(key, answer.token) for (key, _), answer in zip(pools, answers, strict=True) if answer.token]
        return await self._end(run, woken)

    async def _end_all(self, run: Halted, records: Mapping[int, NodeRecord], patient: bool) -> bool:
        """End what can start, take what nobody runs any more, and tell on; says whether any node has ended."""
        places = range(BEFORE_FIRST, len(run.plan.flow.nodes))
        known = {at: record for at, record in records.items() if at in places or at == BEFORE_HOOKS}
        for at, record in known.items():
            if record.state.ended and record.spread != TOLD_ALL:
                told = await aside(self._advancer.resume, run.plan, NodeKey(run.run_id, at), run.shard_key)
                self._parts.dispatcher.publish(told.ready)
        await self._children.stop(run, known)
        states = (NodeState.READY,) if patient else (NodeState.READY, NodeState.RUNNING)
        return await self._end(
            run,
            [
                (NodeKey(run.run_id, at), each.token)
                for at, each in known.items()
                if each.state in states and not _runs_always(run, at)
            ],
        )

    async def _end(self, run: Halted, nodes: Sequence[tuple[NodeKey, int]]) -> bool:
        """Claim nodes as a worker does, each with its token, and end them; says whether any has ended."""
        parents = [each for each in nodes if run.plan.begins_child(each[0].node)] if run.plan.begins_children else []
        has_ended = await self._children.end(run, parents) if parents else False
        return await self._end_plain(run, [each for each in nodes if each not in parents]) or has_ended

    async def _end_plain(self, run: Halted, nodes: Sequence[tuple[NodeKey, int]]) -> bool:
        claims = [Claim(key, token, ()) for key, token in nodes]
        answers = list(zip(claims, await aside(self._parts.store.claim_nodes, claims, self._holder), strict=True))
        claimed = [(claim.key, answer) for claim, answer in answers if answer.word is Word.CLAIMED]
        await self._give_back(run, [(key, answer) for key, answer in claimed if not answer.halt])
        endings = [
            not_started(run.plan, key, answer.token, run.shard_key, answer.halt)
            for key, answer in claimed
            if answer.halt
        ]
        advances = await aside(self._advancer.settle, endings, self._holder)
        self._parts.dispatcher.publish([ready for advance in advances for ready in advance.ready])
        return any(advance.word in (Word.SETTLED, Word.AGAIN) for advance in advances)

    async def _give_back(self, run: Halted, claimed: Sequence[tuple[NodeKey, ClaimAnswer]]) -> None:
        """A run that has ended and goes on again meanwhile is halted no more: a worker must get its nodes."""
        keys = [key for key, _ in claimed]
        releases = [Release(key, answer.token, run.plan.pool_of(key.node), counts=False) for key, answer in claimed]
        answers = await aside(self._parts.store.release_nodes, releases, self._holder)
        self._parts.dispatcher.publish(
            [
                Ready(run.plan, key.run_id, key.node, run.shard_key, answer.attempt, answer.token)
                for key, answer in zip(keys, answers, strict=True)
                if answer.word is Word.RELEASED
            ]
        )


def _runs_always(run: Halted, node: int) -> bool:
    """Whether a halt does not concern a node: a worker runs it."""
    return node >= 0 and run.plan.node(node).trigger.runs_always
