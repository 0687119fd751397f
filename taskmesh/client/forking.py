"""Forks runs: a new run of the same flow takes over what another one has done, and runs the rest, maybe otherwise.

The fork is stored paused, with what it is to take over; then that is written in slices, the nodes that run are made
ready or waiting, and only then it is resumed. Whoever dies in between leaves a run that says what it is paused for, and
the same wish, or a resume, finishes that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from taskmesh.client.copies import refuse_copies
from taskmesh.client.parts import ClientParts
from taskmesh.client.resetting import Resetting
from taskmesh.client.restarting import Restarting
from taskmesh.client.verdicts import checked, verdict_of
from taskmesh.client.wishes import FORK as FORK_VERB
from taskmesh.client.wishes import Wish, place_of
from taskmesh.dispatch.advance import Entrance, admission_of
from taskmesh.dispatch.deferring import whole_params
from taskmesh.dispatch.entrance import Submission, canonical, digest_of, entrance_of
from taskmesh.dispatch.forking import Inherited, inherited, readers_of
from taskmesh.dispatch.large_params import LargeParams
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import PayloadError, RunConflictError, RunNotFoundError, RunStateError, UsageError
from taskmesh.model.item_names import read_item_name
from taskmesh.model.params import check_params
from taskmesh.model.problems import listed
from taskmesh.store.calls import Controlled, Who, Word
from taskmesh.store.controls import Controls
from taskmesh.store.family import Origin, RunKey
from taskmesh.store.preparations import Fork, Inheritance
from taskmesh.store.records import node_record
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import read_check, read_params
from taskmesh.wire.run_contexts import decode_context

FORK = "fork of"
"""How the kind of the pause begins of a run that is being forked; the run that it comes from follows."""

NODES_PER_READ = 100
"""How many outputs are read of the other run at once."""

BYTES_PER_SCRIPT = 1_000_000
NODES_PER_SCRIPT = 100
"""How much one script writes; a larger output goes alone."""

NAMES_TOLD = 5


@dataclass(frozen=True, slots=True)
class ForkWish:
    """What a fork is to do otherwise. ``nodes`` run again, with all that depends on them; ``params`` are other values.

    Without ``nodes``, those run again that read one of these parameters.
    """

    nodes: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    deadline_seconds: float | None = None


class Forking:
    """Makes forks, and finishes those that were left half done."""

    def __init__(self, parts: ClientParts, max_value_bytes: int) -> None:
        self._parts = parts
        self._max_value_bytes = max_value_bytes
        self._controls = Controls(parts.store)
        self._large_params = LargeParams(parts.store, parts.large)
        self._restarting = Restarting(parts)
        self._resetting = Resetting(parts)

    def fork(self, source: str, wish: ForkWish, who: Who) -> str:
        """Make a new run of what ``source`` has done, and let it go on; returns its id.

        :raises RunNotFoundError: no such run. :raises UsageError: it has no such node, or the fork would take over what
            was made with a parameter that is changed. :raises FlowError: the parameters are not the flow's.
        :raises RunStateError: ``source`` is being undone, or was. :raises RunConflictError: the id is another run's.
        """
        digest = _digest(source, wish)
        if wish.run_id is None or not self._is_there(wish.run_id, digest):
            entrance, fork = self._planned(source, wish, checked(who), digest)
            wish = replace(wish, run_id=entrance.run_id)
            self._store(entrance, fork, checked(who))
        run_id = wish.run_id or ""
        verdict_of(run_id, self.finish(run_id, _kind(source))).accepted()
        return run_id

    def finish(self, run_id: str, kind: str) -> Controlled:
        """Do what a fork is paused for, from wherever it was left, and resume it; ``running`` where it is not."""
        found = self._restarting.plan_of(run_id)
        paused, origin, inherits = self._parts.reader.run_fields(run_id, ("paused", "forked_from", "inherits"))
        if found is None or origin is None or inherits is None:
            return Controlled(Word.UNKNOWN)
        if paused is None or unpack(paused)[0] != kind:
            return Controlled(Word.RUNNING)
        plan, shard_key = found
        word = self._inherit(run_id, kind, Origin.read(origin).run_id, Inherited.read(inherits))
        if word is not Word.INHERITED:
            return Controlled(word)
        self._resetting.reset(run_id, plan, shard_key, kind, Wish(FORK_VERB))
        [answer] = self._controls.resume_runs([RunKey(run_id, plan.hash, plan.pools[0])], kind)
        if answer.word is Word.RESUMED:
            self._restarting.start([run_id])
        return answer

    def _is_there(self, run_id: str, digest: bytes) -> bool:
        """Whether this fork was made before: then it does not matter any more what became of the other run."""
        [known] = self._parts.reader.run_fields(run_id, ("digest",))
        if known not in (None, digest):
            raise RunConflictError(run_id)
        return known is not None

    def _planned(self, source: str, wish: ForkWish, who: Who, digest: bytes) -> tuple[Entrance, Fork]:
        summaries, found = self._parts.reader.summaries([source]), self._restarting.plan_of(source)
        if not summaries or found is None:
            raise RunNotFoundError(source)
        if summaries[0].status.compensates:
            raise RunStateError(source, "is being undone, or was: what it had done is not there to be taken over")
        plan, _ = found
        refuse_copies(source, plan)
        origins = [_origin(plan, node) for node in wish.nodes]
        packed, pins, context = self._parts.reader.run_fields(source, ("params", "pins", "context"))
        # Whole: the fork gets its own of what was put aside, and what is changed must be seen.
        params = whole_params(read_params(packed), partial(self._parts.large.value, source))
        kept = summaries[0].tags, wish.deadline_seconds, decode_context(context)
        submission = Submission({**params, **wish.params}, wish.run_id, *kept)
        entrance = entrance_of(plan, submission, self._max_value_bytes, self._large_params)
        changed = _changed(params, check_params(plan.flow, submission.params))
        taken = self._taken(source, plan, origins, changed)
        origin = pack([source, list(wish.nodes), list(changed), *who])
        fork = Fork(_kind(source), origin, taken.packed(len(plan.flow.nodes)))
        # What it begins by name, it begins in the versions of the run that it comes from.
        further = (*entrance.further, *(("pins", pins) if pins else ()))
        return replace(entrance, digest=digest, further=further), fork

    def _taken(self, source: str, plan: Plan, origins: Sequence[int], changed: Sequence[str]) -> Inherited:
        records, readers = self._parts.reader.records_of_run(source), readers_of(plan, changed)
        if not origins:
            return inherited(plan, records, readers)
        taken = inherited(plan, records, origins)
        nodes = set(taken.nodes)
        stale = [plan.name_of(at) for at in readers if at in nodes]
        if stale:
            raise UsageError(
                f"the fork of run {source!r} would take over what {listed(stale, NAMES_TOLD)} made with "
                f"{listed(changed, NAMES_TOLD)}, which is changed; run these nodes again, too "
                f"(--from {stale[0]}), or name none: then all that reads what is changed runs again"
            )
        return taken

    def _store(self, entrance: Entrance, fork: Fork, who: Who) -> None:
        self._large_params.refuse_forgotten([entrance])
        run = admission_of(entrance)
        answer = self._controls.fork_run(run, fork, who)
        if answer.word is Word.FLOW_MISSING:
            answer = self._controls.fork_run(run, fork, who, with_flow=True)
        self._large_params.admitted([entrance])
        if answer.word is Word.CONFLICT:
            raise RunConflictError(entrance.run_id)

    def _inherit(self, run_id: str, kind: str, source: str, taken: Inherited) -> Word:
        """Write what a fork still lacks of what it takes over; ``source_gone`` where it is not there any more."""
        there = self._parts.reader.records_of_run(run_id)
        missing = [at for at in taken.nodes if at not in there]
        for start in range(0, len(missing), NODES_PER_READ):
            found = self._outputs(source, missing[start : start + NODES_PER_READ], taken, run_id)
            if found is None:
                return Word.SOURCE_GONE
            for some in _slices(found):
                answer = self._controls.inherit_nodes(run_id, kind, some)
                if answer.word is not Word.INHERITED:
                    return answer.word
        return Word.INHERITED

    def _outputs(self, source: str, nodes: Sequence[int], taken: Inherited, run_id: str) -> list[Inheritance] | None:
        fields = [f"{kind}:{at}" for at in nodes for kind in ("node", "output")]
        values = self._parts.reader.run_fields(source, fields)
        found = []
        for at, record, output in zip(nodes, values[::2], values[1::2], strict=True):
            if record is None or output is None or not taken.still_has(node_record(record)):
                return None
            own = self._own(source, output, run_id)
            if own is None:
                return None
            found.append(Inheritance(at, own))
        return found

    def _own(self, source: str, output: bytes, run_id: str) -> bytes | None:
        """The output as the fork's own, which stays when that of the other run is removed; None where it has been."""
        if read_check(output) is None:
            return output
        try:
            return self._parts.large.copy(output, source, run_id)
        except PayloadError:
            if self._parts.reader.statuses([source]) == [None]:
                return None
            raise


def _origin(plan: Plan, node: str) -> int:
    """:raises UsageError: there is no such node, or it is an item of a map: a fork has items of its own."""
    item = read_item_name(node)
    if item is None or item[0] not in plan.graph.index:
        return place_of(plan, node)
    raise UsageError(f"a fork begins with whole nodes, and {node!r} is an item; --from {item[0]} runs all items again")


def _kind(source: str) -> str:
    return f"{FORK} {source}"


def _digest(source: str, wish: ForkWish) -> bytes:
    """The same wish has the same one, however it was put together, and no submission has it."""
    return digest_of(FORK, [source, sorted(set(wish.nodes)), wish.params])


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The parameters that have another value, or are there in one of both only."""
    then, now = ({name: canonical(value) for name, value in each.items()} for each in (before, after))
    return [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]


def _slices(nodes: Sequence[Inheritance]) -> Iterator[list[Inheritance]]:
    some: list[Inheritance] = []
    size = 0
    for each in nodes:
        if some and (len(some) == NODES_PER_SCRIPT or size + len(each.output) > BYTES_PER_SCRIPT):
            yield some
            some, size = [], 0
        some.append(each)
        size += len(each.output)
    if some:
        yield some
