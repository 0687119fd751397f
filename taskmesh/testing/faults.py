"""What befalls a virtual mesh because a test wants it to: each once, or as often as it says, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taskmesh.dispatch.plan import Plan
from taskmesh.errors import UsageError
from taskmesh.tasks.task import Task
from taskmesh.testing.cast import Cast
from taskmesh.testing.link import VirtualLink
from taskmesh.wire.messages import NodeMessage, decode_message

PAUSE_SECONDS = 60.0
"""Longer than it takes until the lease is over and another worker has the node."""

PlanOf = Callable[[str, str], Plan | None]
"""The plan of a flow, by its hash and a run of it."""


class Kind(StrEnum):
    """What can befall."""

    EXECUTOR_DIES = "executor dies"
    WORKER_DIES = "worker dies"
    WORKER_PAUSES = "worker pauses"
    MESSAGE_LOST = "message lost"
    MESSAGE_DOUBLED = "message doubled"


@dataclass(slots=True)
class Fault:
    """Something that befalls the next attempts, or messages, of a task."""

    kind: Kind
    task: str
    left: int
    after_effect: bool = False
    seconds: float = 0.0

    @property
    def is_before(self) -> bool:
        """Whether the task's function never runs."""
        return self.kind in (Kind.EXECUTOR_DIES, Kind.WORKER_DIES) and not self.after_effect


_OF_MESSAGES = {Kind.MESSAGE_LOST: 0, Kind.MESSAGE_DOUBLED: 2}


class Faults:
    """Plans faults. ``task`` is a task, its name, or its function's name; ``times`` is how often it befalls."""

    def __init__(self, cast: Cast, link: VirtualLink, plan_of: PlanOf, now: Callable[[], float]) -> None:
        self._cast = cast
        self._link = link
        self._plan_of = plan_of
        self._now = now
        self._planned: list[Fault] = []

    def executor_dies(self, task: Task[Any, Any] | str, times: int = 1, *, after_effect: bool = False) -> None:
        """The process that runs the task dies: before its function has begun, or just after it has done all it does."""
        self._plan(Kind.EXECUTOR_DIES, task, times, after_effect=after_effect)

    def worker_dies(self, task: Task[Any, Any] | str, times: int = 1, *, after_effect: bool = False) -> None:
        """The whole worker that runs the task dies, and nobody says so; another one is there."""
        self._plan(Kind.WORKER_DIES, task, times, after_effect=after_effect)

    def worker_pauses(self, task: Task[Any, Any] | str, times: int = 1, *, seconds: float = PAUSE_SECONDS) -> None:
        """The worker stands still when the task has just ended, and its lease runs out; another one is there.

        After ``seconds`` it goes on, and says what became of the task: too late, where another attempt has begun.
        """
        self._plan(Kind.WORKER_PAUSES, task, times, seconds=seconds)

    def message_lost(self, task: Task[Any, Any] | str, times: int = 1) -> None:
        """The message that a node of the task is ready gets lost."""
        self._plan(Kind.MESSAGE_LOST, task, times)

    def message_doubled(self, task: Task[Any, Any] | str, times: int = 1) -> None:
        """The message that a node of the task is ready comes twice."""
        self._plan(Kind.MESSAGE_DOUBLED, task, times)

    def store_away(self, seconds: float) -> None:
        """Redis answers nobody for so long from now: no worker, and no ``submit``."""
        self._link.away_until = self._now() + seconds

    @property
    def pending(self) -> list[str]:
        """Faults that have not befallen yet, or not as often as they should: in words."""
        return [f"{each.kind}: {each.task} ({each.left} times)" for each in self._planned]

    def of_attempt(self, task: str) -> Fault | None:
        """What befalls the attempt of a task that begins now."""
        return self._next(task, lambda kind: kind not in _OF_MESSAGES)

    def copies(self, body: bytes) -> int:
        """How many of a message come through."""
        if not any(each.kind in _OF_MESSAGES for each in self._planned):
            return 1
        message = decode_message(body)
        plan = self._plan_of(message.flow_hash, message.run_id) if isinstance(message, NodeMessage) else None
        if plan is None or not isinstance(message, NodeMessage) or message.node < 0:
            return 1
        fault = self._next(plan.node(message.node).task, lambda kind: kind in _OF_MESSAGES)
        return 1 if fault is None else _OF_MESSAGES[fault.kind]

    def _plan(self, kind: Kind, task: Task[Any, Any] | str, times: int, **details: Any) -> None:
        if times < 1:
            raise UsageError(f"times is how often it befalls, at least 1, not {times}")
        self._planned.append(Fault(kind, self._cast.name_of(task), times, **details))

    def _next(self, task: str, fits: Callable[[Kind], bool]) -> Fault | None:
        for fault in self._planned:
            if fault.task == task and fits(fault.kind):
                fault.left -= 1
                if not fault.left:
                    self._planned.remove(fault)
                return fault
        return None
