"""What a node begins: the flow and the parameters of its child run, and what that gets from its parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.children.inputs import Around
from taskmesh.dispatch.children.orphans import look_seconds
from taskmesh.dispatch.deferring import Arguments
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.gates import ValueOf
from taskmesh.dispatch.large_params import LargeParams
from taskmesh.dispatch.maps.copies import copies_params, copies_plan
from taskmesh.dispatch.maps.items import items_of
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError
from taskmesh.model.flow import Flow, ParamType
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import GIVEN, OVER, Map
from taskmesh.model.params import check_params
from taskmesh.model.subflows import MAX_DEPTH, ChildStep, Subflow
from taskmesh.payload.large_values import Fetching
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Parent
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import ClaimCheck, Params, pack_check, read_check
from taskmesh.wire.codec import PutAsideError

NOTHING = pack(None)

LEAST_SECONDS = 0.001
"""A child whose parent's time is just over still gets a deadline, which rings at once."""


class Birth(NamedTuple):
    """A claimed node that is to begin a child. ``left_seconds`` is the time until the deadline of its run, if any.

    ``turn`` counts the children that it has begun before within its attempt; ``last`` is what the last of them gave,
    as it is stored.
    ``context`` is what is said of the request that its run serves, and the child with it.
    """

    plan: Plan
    key: NodeKey
    shard_key: str
    arguments: bytes
    around: Around
    left_seconds: float | None
    turn: int = 0
    last: bytes = NOTHING
    context: bytes = b""

    @property
    def child_id(self) -> str:
        """The run that is to be begun."""
        return self.around.child_id(self.key, self.turn)


class ChildFlow(NamedTuple):
    """What a child is a run of, and with which parameters; those that are put aside are so as its own."""

    plan: Plan
    params: Params
    items: tuple[bytes, ...] = ()


class NoChild(NamedTuple):
    """There is nothing that a child could do: the node has this output at once."""

    output: bytes


class Bodies:
    """Finds the flows that children are runs of; ``fetch`` gives a registered one by its name and its hash.

    ``large`` fetches, copies and puts aside what is large, which blocks; without it that is refused.
    """

    def __init__(
        self, fetch: Callable[[str, str], Plan | None], max_value_bytes: int, large: LargeParams | None = None
    ) -> None:
        self._fetch = fetch
        self._large = large
        self.max_value_bytes = max_value_bytes

    def flow_of(self, birth: Birth) -> ChildFlow | NoChild:
        """The flow of a node's child; a row of ``MAKERS`` knows how its kind of step is made one.

        :raises UsageError: it is not there any more, or has no list, or too few items.
        :raises TooLargeError: it has too many. :raises UnresolvedReferenceError: as of ``Inputs.arguments``.
        :raises PutAsideError: something of it was put aside, and this is no place to fetch it.
        :raises PayloadError: it is not there. :raises PayloadUnavailableError: it cannot be fetched, or handed on.
        """
        step = birth.plan.node(birth.key.node).step
        assert isinstance(step, ChildStep)
        return MAKERS[type(step)](self, birth, step)

    def plan_of(self, birth: Birth, reference: str) -> Plan:
        """The flow that stands in the node, or a registered one, in the version that the run was submitted with.

        :raises UsageError: its body is not there any more.
        """
        inner = birth.plan.inner_plan(birth.key.node)
        if inner is not None:
            return inner
        name, hash_ = birth.around.body_of(reference)
        plan = self._fetch(hash_, name)
        if plan is None:
            raise UsageError(f"the store has lost the body of the registered flow {reference}; push it again")
        return plan

    def value_of(self, birth: Birth) -> ValueOf:
        """Gives the value of something that is stored of the parent."""
        return unpack if self._large is None else Fetching(self._large.large, birth.key.run_id).value

    def own(self, birth: Birth, params: Params, stays: str = "") -> Params:
        """Parameters that the parent gives, as the child's own; that of the name ``stays`` is never put aside."""
        if self._large is not None:
            return self._large.own(birth.child_id, birth.key.run_id, params, stays)
        if params.aside:
            raise PutAsideError("it was put aside, and cannot be handed on from here")
        return params


def _of_subflow(bodies: Bodies, birth: Birth, step: ChildStep) -> ChildFlow:
    value_of = bodies.value_of(birth)
    return _with_params(bodies, birth, step, Arguments(birth.arguments, value_of).handed_on(), value_of)


def _of_loop(bodies: Bodies, birth: Birth, step: ChildStep) -> ChildFlow:
    assert isinstance(step, Loop)
    value_of = bodies.value_of(birth)
    here, aside = Arguments(birth.arguments, value_of).handed_on()
    here |= {step.count_as: birth.turn + 1} if step.count_as else {}
    if step.tells_last({*here, *aside}, birth.turn):
        here, aside = _told_last(step.last_as, birth.last, here, aside)
    return _with_params(bodies, birth, step, Params(here, aside), value_of)


def _told_last(
    name: str, last: bytes, here: Mapping[str, Any], aside: Mapping[str, ClaimCheck]
) -> tuple[dict[str, Any], dict[str, ClaimCheck]]:
    """The parameters of an iteration with what the one before gave, wherever that is."""
    here, aside = ({key: each for key, each in side.items() if key != name} for side in (here, aside))
    check = read_check(last)
    return (here, {**aside, name: check}) if check else ({**here, name: unpack(last)}, aside)


def _with_params(bodies: Bodies, birth: Birth, step: ChildStep, params: Params, value_of: ValueOf) -> ChildFlow:
    plan = bodies.plan_of(birth, step.reference)
    looked_at = {name: each for name, each in params.aside.items() if _is_looked_at(plan.flow, name)}
    here = {**params.here, **{name: value_of(pack_check(each)) for name, each in looked_at.items()}}
    aside = {name: each for name, each in params.aside.items() if name not in looked_at}
    if looked_at:
        check_params(plan.flow, {**here, **dict.fromkeys(aside)}, aside)
    return ChildFlow(plan, bodies.own(birth, Params(here, aside), plan.flow.shard_by.removeprefix("params.")))


def _is_looked_at(flow: Flow, name: str) -> bool:
    """Whether the value of a parameter must be known to admit a run: it has a type, or says what belongs together."""
    has_type = any(param.name == name and param.type is not ParamType.ANY for param in flow.params)
    return has_type or flow.shard_by == f"params.{name}"


def _of_map(bodies: Bodies, birth: Birth, step: ChildStep) -> ChildFlow | NoChild:
    assert isinstance(step, Map)
    arguments = Arguments(birth.arguments, bodies.value_of(birth))
    items = items_of(step, arguments.one(OVER))
    if items is None:
        if least := step.needed(0):
            raise UsageError(f"the list of the map is empty, and {least} of its items must succeed")
        return NoChild(pack([]))
    if items.copies.least > items.copies.total:
        raise UsageError(f"the map has {items.copies.total} items, and {items.copies.least} of them must succeed")
    origin = f"{birth.key.run_id}/{birth.plan.name_of(birth.key.node)}"
    given = bodies.own(birth, arguments.handed_on(GIVEN))
    params = copies_params(given.here, origin, bodies.max_value_bytes)
    return ChildFlow(copies_plan(birth.plan.flow, step, items), Params(params, given.aside), items.chunks)


Maker: TypeAlias = Callable[[Bodies, Birth, ChildStep], ChildFlow | NoChild]

MAKERS: Mapping[type[ChildStep], Maker] = {Subflow: _of_subflow, Loop: _of_loop, Map: _of_map}
"""How each kind of step says what its child is; a kind of its own has a row of its own."""


def entrance_of_child(birth: Birth, child: ChildFlow, max_value_bytes: int) -> Entrance:
    """The child run, which has an id that every worker gives it that takes the node up.

    :raises UsageError: it would be nested too deep. :raises FlowError: the parameters are not its flow's.
    :raises TooLargeError: they have more than ``max_value_bytes``.
    """
    around, node = birth.around, birth.plan.node(birth.key.node)
    depth = around.parent.depth + 1 if around.parent else 2
    if depth > MAX_DEPTH:
        raise UsageError(
            f"run {birth.key.run_id} is {depth - 1} runs deep, and no deeper sub-flow is begun; a flow that begins "
            "itself needs a condition that ends it"
        )
    run_id = birth.child_id
    deadline_seconds = _deadline(birth, child.plan)
    submission = Submission(child.params.here, run_id, around.tags, deadline_seconds, aside=child.params.aside)
    entrance = entrance_of(child.plan, submission, max_value_bytes)
    parent = Parent(*birth.key, node.name, run_id, depth, child.plan.pools[0])
    return replace(
        entrance,
        items=child.items,
        look_seconds=look_seconds(birth.plan, birth.key.node),
        shard_key=_shard_key(birth, child.plan, entrance.shard_key),
        further=("parent", parent.packed(), "pins", around.pins, *_context(birth)),
    )


def _context(birth: Birth) -> tuple[str | bytes, ...]:
    return ("context", birth.context) if birth.context else ()


def _deadline(birth: Birth, plan: Plan) -> float | None:
    """The least of what the flow, the node and the parent's deadline say."""
    limits = (plan.flow.timeout_seconds, birth.plan.node(birth.key.node).limits.start_to_close, birth.left_seconds)
    given = [each for each in limits if each is not None]
    return max(LEAST_SECONDS, min(given)) if given else None


def _shard_key(birth: Birth, plan: Plan, own: str) -> str:
    """What belongs together by a parameter of the parent stays together, where the child's flow says nothing."""
    is_kept = birth.plan.flow.shard_by.startswith("params.") and plan.flow.shard_by == "run"
    return birth.shard_key if is_kept else own
