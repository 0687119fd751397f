"""What is taken from a run that is told again, and in which words that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskmesh.model.flow import Flow
from taskmesh.model.policies import RetryPolicy
from taskmesh.model.states import NodeState
from tests.model.interpreter import Sent

SUCCEEDED, FAILED, SKIPPED, CANCELLED = NodeState.SUCCEEDED, NodeState.FAILED, NodeState.SKIPPED, NodeState.CANCELLED

UNDOES = "undo:"
"""How the name of an undo begins."""

Work = Callable[[Mapping[str, Any], int], Any]
"""What a task gives for its arguments at an attempt, the first being 1; it raises an ``ArithmeticError`` to fail."""


class DisagreementError(AssertionError):
    """What a run did is not what its flow says."""


class Moment(NamedTuple):
    """A node was made ready, began, or ended; without a name: the run was cancelled. ``at`` in seconds."""

    node: str
    state: NodeState
    at: float


class End(NamedTuple):
    """How a node, or a run, has ended."""

    state: NodeState
    output: Any = None
    cause: str = ""
    attempts: int = 1


class Found(NamedTuple):
    """What a run says of its end: of its nodes, of what undid them, and of itself."""

    ends: Mapping[str, End]
    undos: Mapping[str, End]
    status: str
    result: Any


@dataclass(frozen=True)
class Played:
    """What is taken from a run: its moments in their order, and the child runs of each node in their order."""

    moments: Sequence[Moment]
    children: Mapping[str, Sequence[Played]]
    found: Found
    sent: Mapping[str, Sent] = field(default_factory=dict)

    @property
    def is_cancelled(self) -> bool:
        return any(not moment.node for moment in self.moments)

    @property
    def ended_at(self) -> float:
        """When nothing was left but to undo what it did."""
        return max((moment.at for moment in self.moments if not moment.node.startswith(UNDOES)), default=0.0)


class Known(NamedTuple):
    """What the flow of a run does not say: what its task gives, what undoing does, which flows are registered."""

    work: Work
    undo: Work
    flows: Mapping[str, Flow]


LOST_ITEM = {"failed": {"type": "ZeroDivisionError", "message": "as it should"}}
"""What stands in the list of a map for an item that has failed."""


def tried(work: Work, retry: RetryPolicy | None, args: Mapping[str, Any]) -> End:
    """What becomes of something that is tried as often as a policy says."""
    most = retry.max_attempts if retry else 1
    for attempt in range(1, most + 1):
        try:
            return End(SUCCEEDED, work(args, attempt), attempts=attempt)
        except ArithmeticError:
            continue
    return End(FAILED, attempts=most)
