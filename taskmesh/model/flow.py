"""A flow: the immutable definition that Python code and YAML files both compile to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from taskmesh.model.breakers import Guard
from taskmesh.model.catalog import TaskInfo
from taskmesh.model.computed import Computed
from taskmesh.model.events.on_event import OnEvent
from taskmesh.model.hooks import Hook
from taskmesh.model.item_names import item_name, read_item_name
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.steps import Step
from taskmesh.model.triggers import PLAIN, Trigger
from taskmesh.model.values import Value

ALL_PARAMS = "${params}"
"""As the ``args`` of a node: hand every parameter of the run to the task."""

UNDO_RESULT = "result"
"""The argument of an undo that holds the output of the node that it undoes."""

DEFAULT_POOL = "default"


class OnFailure(StrEnum):
    """What the failure of one node means for the rest of the run."""

    FAIL_FAST = "fail_fast"  # nothing new starts; what runs may end
    CONTINUE = "continue"  # only what depends on the failed node does not run
    COMPENSATE = "compensate"  # as fail_fast; then what had succeeded is undone


class Events(StrEnum):
    """Of which ends of a run others hear."""

    NONE = "none"
    RUNS = "runs"  # that of the run
    NODES = "nodes"  # that of each node, too


class ParamType(StrEnum):
    """The type of a flow's parameter, in the words of JSON Schema."""

    ANY = "any"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a flow."""

    name: str
    type: ParamType = ParamType.ANY
    required: bool = True
    default: Value = None


@dataclass(frozen=True, slots=True)
class Compensation:
    """What undoes a node: a task that is called with the node's arguments and with its output as ``result``."""

    task: str
    pool: str = DEFAULT_POOL
    retry: RetryPolicy | None = None
    limits: TimeLimits = NO_LIMITS

    @classmethod
    def by(cls, task: TaskInfo | None) -> Compensation | None:
        """As the task itself says, where there is one."""
        return cls(task.name, task.pool, task.retry, task.limits) if task else None


@dataclass(frozen=True, slots=True)
class Case:
    """One way out of a switch: the nodes in ``then``, where ``when`` holds; without ``when`` it is the last resort.

    ``name`` is what the switch gives as its output when it goes this way.
    """

    when: str
    then: tuple[str, ...]
    name: str


def case_of(when: str, then: tuple[str, ...], name: str = "") -> Case:
    """A case that is named after its first node where nothing else is said."""
    return Case(when, then, name or (then[0] if then else NO_BRANCH))


NO_BRANCH = "else"
"""The name of a last resort that leads to no node."""


@dataclass(frozen=True, slots=True)
class Switch:
    """The ways out of a node that chooses between others: the first case that holds. One without ``when`` is last."""

    cases: tuple[Case, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The nodes that it leads to, without repeats."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.then))

    def taken(self, name: str) -> frozenset[str]:
        """The nodes that the case of this name leads to."""
        return frozenset(target for case in self.cases if case.name == name for target in case.then)


SWITCH = "switch"
"""What stands for the task of a node that is a switch, which runs none."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a flow.

    ``args`` maps the task's parameter names to values; strings in them may hold references
    (see ``model.references``). ``needs`` names every node that must have ended before, as ``trigger``
    asks, those that anything here refers to included, without repeats. Without ``retry`` it has one attempt;
    without ``guard`` it is behind no circuit breaker. Where its condition ``when`` does not hold it is skipped.
    A ``switch`` runs no task; its ``task`` is empty. So is that of a ``step`` that runs none (see ``model.steps``).
    """

    name: str
    task: str
    args: Mapping[str, Value] | str = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    pool: str = DEFAULT_POOL
    retry: RetryPolicy | None = None
    limits: TimeLimits = NO_LIMITS
    guard: Guard | None = None
    compensation: Compensation | None = None
    trigger: Trigger = PLAIN
    when: str = ""
    switch: Switch | None = None
    step: Step | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """The texts of all its conditions: its own, then those of its cases."""
        cases = [case.when for case in self.switch.cases] if self.switch else []
        return tuple(text for text in (self.when, *cases) if text)

    @property
    def hook(self) -> Hook | None:
        """What it observes, where it is a hook."""
        return self.trigger.hook

    @property
    def is_flow_hook(self) -> bool:
        """Whether it is a hook of the flow, which begins when all else has ended."""
        return self.hook is not None and not self.needs

    @property
    def label(self) -> str:
        """What it runs, for people."""
        if self.switch:
            return SWITCH
        return self.step.label if self.step and not self.step.runs_task else self.task


@dataclass(frozen=True, slots=True)
class Copies(Computed[Node]):
    """``total`` copies of one node that need nothing, none of which is kept: each is made when it is asked for.

    Each is called with an item of its own (see ``model.mapping``). So many items stand in one field of the run;
    ``is_sliced`` says that each is a list of several. With ``most_at_once``, no more of the copies than that have begun
    and not ended at any time; 0 = no bound. ``least`` is how many must succeed for their run to have a result.
    """

    node: Node
    total: int
    per_chunk: int = 1
    most_at_once: int = 0
    is_sliced: bool = False
    least: int = 0

    @property
    def first(self) -> range:
        """The places of those that may begin at once."""
        return range(min(self.total, self.most_at_once or self.total))

    @property
    def chunks(self) -> int:
        """How many fields the items take."""
        return -(-self.total // self.per_chunk)

    def name_of(self, place: int) -> str:
        return item_name(self.node.name, place)

    def place_of(self, name: str) -> int | None:
        """The place of the copy with this name; None where there is none."""
        _, place = read_item_name(name) or ("", self.total)
        return place if place < self.total and self.name_of(place) == name else None

    def __len__(self) -> int:
        return self.total

    def at(self, place: int) -> Node:
        return replace(self.node, name=self.name_of(place))


@dataclass(frozen=True, slots=True)
class Flow:
    """A DAG of nodes, in a stable topological order (see ``model.graph.topological_order``), or copies of one node.

    ``shard_by`` is ``"run"``, ``"node"`` or ``"params.NAME"``. ``result`` is a value with references
    that becomes the result of the run; None means the output of the only last node, or a
    mapping of name to output where there are several. ``timeout_seconds`` is how long a run may take whose submitter
    does not say so; None = any time. ``events`` says what is published of its runs, and
    ``on`` which events begin some (see ``docs/events.md``).
    """

    name: str
    version: str
    nodes: Sequence[Node]
    params: tuple[Param, ...] = ()
    on_failure: OnFailure = OnFailure.FAIL_FAST
    shard_by: str = "run"
    result: Value = None
    timeout_seconds: float | None = None
    events: Events = Events.NONE
    on: OnEvent | None = None

    @property
    def copies(self) -> Copies | None:
        """Its nodes, where they are copies of one."""
        return self.nodes if isinstance(self.nodes, Copies) else None

    @property
    def kinds(self) -> Sequence[Node]:
        """Its nodes without repeats: for copies just the one that they are copies of."""
        return (self.copies.node,) if self.copies else self.nodes

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools whose workers it needs: those of its nodes first, then those of what undoes them."""
        undos = [node.compensation for node in self.kinds if node.compensation]
        return tuple(dict.fromkeys([*(node.pool for node in self.kinds), *(undo.pool for undo in undos)]))

    @property
    def working(self) -> Iterator[Node]:
        """Its nodes, each with the one that its step runs copies of after it."""
        for node in self.kinds:
            yield node
            if node.step and node.step.works_as:
                yield node.step.works_as

    @property
    def can_compensate(self) -> bool:
        """Whether anything that it does can be undone."""
        return any(node.compensation for node in self.kinds)
