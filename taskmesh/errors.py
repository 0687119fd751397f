"""Every error that taskmesh raises on purpose.

TaskmeshError
├── UsageError                  the caller or a file is wrong; the message says where and what to do
│   ├── ConfigError             a setting
│   ├── FlowError               a flow definition; carries every problem found
│   ├── UnknownTaskError        a task name that is not registered
│   ├── UnresolvedReferenceError  a reference to something that the params or an output do not hold
│   ├── FlowVersionError        a registered flow, or a version of one, that is not there or cannot be used so
│   ├── EventError              an event with which a flow cannot begin
│   ├── ScheduleError           a schedule; carries every problem found
│   ├── DeadLetterError         a dead letter that is not there, or that cannot be replayed so
│   ├── NodeConfigError         what a node gives its type; carries every problem found
│   └── RunConflictError        a run id that is taken by a different body
├── UnavailableError            a server cannot be reached or refuses; nothing was lost
│   ├── BrokerUnavailableError
│   ├── StoreUnavailableError
│   │   └── StoreRefusedError   it answers, but waiting does not help
│   └── PayloadUnavailableError
├── PayloadError                an output that was put aside is not there, or is not what was put there
├── BreakerNotFoundError        no worker has met a circuit breaker of this name
├── ScheduleNotFoundError       no schedule has this id
├── WireError                   bytes that are not what they should be
│   └── TooLargeError           a value or a message over its limit
├── TaskCancelledError          raised in a task that should end
├── NodeFailedError             what a node of a built-in type came to
│   ├── NodeRefusedError        the settings do not allow it; trying again does not help
│   └── NodeUnavailableError    the other side did not do it; trying again may help
└── RunError                    what became of a run
    ├── RunNotFoundError
    │   └── RunLostError        it was accepted, and the store has forgotten it
    ├── RunFailedError
    │   └── CompensationFailedError  and what it had done could not all be undone
    ├── RunCancelledError
    ├── RunStateError           the run is in a state in which this cannot be done
    └── ResultTimeoutError
"""

from __future__ import annotations

from collections.abc import Sequence


class TaskmeshError(Exception):
    """Base of everything that taskmesh raises on purpose."""


class UsageError(TaskmeshError):
    """The caller, or a file of the caller's, is wrong."""


class ConfigError(UsageError):
    """A setting is missing, unknown or contradicts another."""


class FlowError(UsageError):
    """A flow definition breaks rules. ``problems`` holds one sentence for each, in file order."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class UnknownTaskError(UsageError):
    """A task name is not in the registry of this process."""

    def __init__(self, task: str, hint: str = "") -> None:
        super().__init__(f"task {task!r} is not registered{hint}")
        self.task = task


class UnresolvedReferenceError(UsageError):
    """What a reference points at is not there. ``reference`` is its text."""

    def __init__(self, reference: str, why: str) -> None:
        super().__init__(f"{reference} cannot be resolved: {why}")
        self.reference = reference


class EventError(UsageError):
    """An event is none, or a flow cannot begin with it; the sentence says why."""


class BreakerNotFoundError(TaskmeshError):
    """No worker has met a circuit breaker of this name."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f"no worker has met a breaker {name!r}{hint or '; `taskmesh breakers ls` lists them'}")
        self.name = name


class FlowVersionError(UsageError):
    """A registered flow or version is not there, or what was asked for cannot be done with it. ``flow`` is its name."""

    def __init__(self, flow: str, message: str) -> None:
        super().__init__(message)
        self.flow = flow


class ScheduleError(UsageError):
    """A schedule breaks rules. ``problems`` holds one sentence for each; ``schedule_id`` says which schedule."""

    def __init__(self, schedule_id: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"schedule {schedule_id[:100]!r}: {problem}" for problem in problems))
        self.schedule_id = schedule_id
        self.problems = tuple(problems)


class ScheduleNotFoundError(TaskmeshError):
    """No schedule has this id."""

    def __init__(self, schedule_id: str, hint: str = "") -> None:
        super().__init__(f"no schedule has the id {schedule_id!r}{hint or '; `taskmesh schedule ls` lists them'}")
        self.schedule_id = schedule_id


class DeadLetterError(UsageError):
    """A dead letter is not there, or cannot be replayed as asked. ``letter_id`` says which."""

    def __init__(self, letter_id: str, message: str) -> None:
        super().__init__(message)
        self.letter_id = letter_id


class NodeConfigError(UsageError):
    """What a node gives its type breaks the rules of that. ``problems`` holds one sentence for each."""

    def __init__(self, node_type: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"node type {node_type!r}: {problem}" for problem in problems))
        self.node_type = node_type
        self.problems = tuple(problems)


class RunConflictError(UsageError):
    """A run with this id exists already and was submitted with another flow or other parameters."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} exists already with another flow or other parameters; "
            "use another id, or the same body to get the same run"
        )
        self.run_id = run_id


class UnavailableError(TaskmeshError):
    """A server cannot be reached or refuses to serve."""


class BrokerUnavailableError(UnavailableError):
    """RabbitMQ (or the embedded broker) cannot be used."""


class StoreUnavailableError(UnavailableError):
    """Redis (or the embedded Valkey) cannot be used."""


class StoreRefusedError(StoreUnavailableError):
    """Redis answers, but not to us, or may not be trusted with runs; somebody has to change something."""


class PayloadUnavailableError(UnavailableError):
    """The place where large values are put aside cannot be used."""


class PayloadError(TaskmeshError):
    """A value that was put aside is not there any more, or is not what was put there."""


class WireError(TaskmeshError):
    """Bytes from the broker or the store do not decode to what they should be."""


class TooLargeError(WireError):
    """A value or a message is over its limit."""


class TaskCancelledError(TaskmeshError):
    """A running task should end: its run will not go on, or another attempt has taken its place."""

    def __init__(self, run_id: str, node: str) -> None:
        super().__init__(
            f"node {node!r} of run {run_id!r} should not go on: the run was stopped, or others have the node"
        )
        self.run_id = run_id
        self.node = node


class NodeFailedError(TaskmeshError):
    """A node of a built-in type could not do what it was to do."""


class NodeRefusedError(NodeFailedError):
    """The settings of this worker do not allow what a node was to do; trying again does not help."""


class NodeUnavailableError(NodeFailedError):
    """A service did not answer a node, or not in time, or said that it cannot just now; trying again may help."""


class RunError(TaskmeshError):
    """Something about one run. ``run_id`` says which."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunNotFoundError(RunError):
    """No run has this id, or its retention is over."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id, f"no run has the id {run_id!r} (or its retention is over)")


class RunLostError(RunNotFoundError):
    """The run had been accepted, and the store does not know it any more."""

    def __init__(self, run_id: str) -> None:
        RunError.__init__(
            self,
            run_id,
            f"run {run_id!r} was accepted, but the store does not know it any more: a failover or a restart of Redis "
            "has lost it (or its retention is over); submit it again under the same id",
        )


class RunFailedError(RunError):
    """The run ended as failed. ``node`` is the first node that failed, ``reason`` what it said.

    ``node`` is empty where the run was ended from outside, as at its deadline.
    """

    def __init__(self, run_id: str, node: str, reason: str) -> None:
        where = f" at node {node!r}" if node else ""
        super().__init__(run_id, f"run {run_id!r} failed{where}: {reason}")
        self.node = node
        self.reason = reason


class CompensationFailedError(RunFailedError):
    """The run failed or was cancelled, and undos failed, too. ``left`` names the nodes that are still to be undone."""

    def __init__(self, run_id: str, node: str, reason: str, left: Sequence[str]) -> None:
        super().__init__(run_id, node, reason)
        self.left = tuple(left)
        self.args = (f"{self.args[0]}; still to be undone: {', '.join(left)} (`taskmesh compensate {run_id}` goes on)",)


class RunCancelledError(RunError):
    """The run was cancelled or terminated."""

    def __init__(self, run_id: str, how: str = "cancelled") -> None:
        super().__init__(run_id, f"run {run_id!r} was {how}")


class RunStateError(RunError):
    """What was asked for cannot be done to a run in its state; the message says why, and what can be done."""

    def __init__(self, run_id: str, why: str) -> None:
        super().__init__(run_id, f"run {run_id!r} {why}")


class ResultTimeoutError(RunError, TimeoutError):
    """The run had not ended when the caller's timeout was over."""

    def __init__(self, run_id: str, timeout_seconds: float) -> None:
        super().__init__(run_id, f"run {run_id!r} had not ended after {timeout_seconds:g} s")
