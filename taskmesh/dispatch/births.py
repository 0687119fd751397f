"""What a node begins: the flow and the parameters of its child run, and what that gets from its parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from taskmesh.dispatch.advance import Entrance
from taskmesh.dispatch.child_inputs import Around
from taskmesh.dispatch.copies import copies_params, copies_plan
from taskmesh.dispatch.deferring import resolved_here
from taskmesh.dispatch.entrance import Submission, entrance_of
from taskmesh.dispatch.items import items_of
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import GIVEN, OVER, Map
from taskmesh.model.subflows import MAX_DEPTH, ChildStep, Subflow
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import Parent
from taskmesh.wire import pack

LEAST_SECONDS = 0.001
"""A child whose parent's time is just over still gets a deadline, which rings at once."""


class Birth(NamedTuple):
    """A claimed node that is to begin a child. ``left_seconds`` is the time until the deadline of its run, if any.

    ``turn`` counts the children that it has begun before within its attempt; ``last`` is what the last of them gave.
    ``context`` is what is said of the request that its run serves, and the child with it.
    """

    plan: Plan
    key: NodeKey
    shard_key: str
    arguments: bytes
    around: Around
    left_seconds: float | None
    turn: int = 0
    last: Any = None
    context: bytes = b""


class ChildFlow(NamedTuple):
    """What a child is a run of, and with which parameters."""

    plan: Plan
    params: Mapping[str, Any]
    items: tuple[bytes, ...] = ()


class NoChild(NamedTuple):
    """There is nothing that a child could do: the node has this output at once."""

    output: bytes


class Bodies:
    """Finds the flows that children are runs of; ``fetch`` gives a registered one by its name and its hash."""

    def __init__(self, fetch: Callable[[str, str], Plan | None], max_value_bytes: int) -> None:
        self._fetch = fetch
        self.max_value_bytes = max_value_bytes

    def flow_of(self, birth: Birth) -> ChildFlow | NoChild:
        """The flow of a node's child; a row of ``MAKERS`` knows how its kind of step is made one.

        :raises UsageError: it is not there any more, or has no list, or too few items.
        :raises TooLargeError: it has too many. :raises UnresolvedReferenceError: as of ``Inputs.arguments``.
        :raises PutAsideError: as of ``resolved_here``.
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


def _of_subflow(bodies: Bodies, birth: Birth, step: ChildStep) -> ChildFlow:
    return ChildFlow(bodies.plan_of(birth, step.reference), resolved_here(birth.arguments))


def _of_loop(bodies: Bodies, birth: Birth, step: ChildStep) -> ChildFlow:
    assert isinstance(step, Loop)
    params = step.arguments(resolved_here(birth.arguments), birth.turn, birth.last)
    return ChildFlow(bodies.plan_of(birth, step.reference), params)


def _of_map(bodies: Bodies, birth: Birth, step: ChildStep) -> ChildFlow | NoChild:
    assert isinstance(step, Map)
    arguments = resolved_here(birth.arguments)
    items = items_of(step, arguments[OVER])
    if items is None:
        if least := step.needed(0):
            raise UsageError(f"the list of the map is empty, and {least} of its items must succeed")
        return NoChild(pack([]))
    if items.copies.least > items.copies.total:
        raise UsageError(f"the map has {items.copies.total} items, and {items.copies.least} of them must succeed")
    origin = f"{birth.key.run_id}/{birth.plan.name_of(birth.key.node)}"
    params = copies_params(arguments.get(GIVEN, {}), origin, bodies.max_value_bytes)
    return ChildFlow(copies_plan(birth.plan.flow, step, items), params, items.chunks)


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
    run_id = around.child_id(birth.key, birth.turn)
    submission = Submission(child.params, run_id, around.tags, _deadline(birth, child.plan))
    entrance = entrance_of(child.plan, submission, max_value_bytes)
    parent = Parent(*birth.key, node.name, run_id, depth, child.plan.pools[0])
    return replace(
        entrance,
        items=child.items,
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
