"""The attempts that an I/O process has on its hands."""

from __future__ import annotations

from dataclasses import dataclass, field

from taskmesh.broker.protocol import AckToken, Delivery
from taskmesh.dispatch.advance import Ending, cancelled, not_started
from taskmesh.dispatch.plan import Plan
from taskmesh.model.breakers import BEHIND_BREAKER, FALLBACK
from taskmesh.model.flow import Node, OnFailure
from taskmesh.store.calls import NodeKey
from taskmesh.store.family import WAITS_FOR_RUN
from taskmesh.wire import pack
from taskmesh.worker.channels.protocol import Failure, Outcome


@dataclass(slots=True)
class Attempt:
    """One node that this process claims or runs. ``acks`` are settled when the attempt is.

    ``retries`` counts the attempts before that ended in a retry, ``crashes`` those that ended with their executor,
    ``past`` those before it was reset.
    ``closes_at``, on the monotonic clock, is when the node must have ended, ``closing`` what is wrong when it has not;
    ``run_deadline`` is the run's, in epoch seconds of this machine. ``halt`` says why the run will not go on, once that
    was heard after the claim. ``is_unknown``: its task is not known here.
    ``uses_fallback``: another task runs in its place, since its breaker refuses.
    """

    id: int
    key: NodeKey
    plan: Plan
    shard_key: str
    message_token: int
    delivery: Delivery
    acks: list[AckToken] = field(default_factory=list)
    token: int = 0
    number: int = 0
    retries: int = 0
    crashes: int = 0
    past: int = 0
    closes_at: float | None = None
    closing: Failure | None = None
    run_deadline: float | None = None
    is_unknown: bool = False
    uses_fallback: bool = False
    halt: str = ""
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        self.node = self.plan.node(self.key.node)

    @property
    def is_undo(self) -> bool:
        return self.plan.is_undo(self.key.node)

    @property
    def newest_delivery(self) -> Delivery:
        """Of what is not claimed: the copy that came last, as the connection of an earlier one may be gone."""
        return self.delivery._replace(token=self.acks[-1])

    @property
    def task(self) -> str:
        return self.node.label

    @property
    def is_timed(self) -> bool:
        """Whether it is killed when it runs too long."""
        limits = self.node.limits
        return self.closes_at is not None or bool(limits.start_to_close or limits.heartbeat)

    @property
    def closing_name(self) -> str:
        """What its last moment is given by."""
        return "the deadline of the run" if self.closing and self.closing.type == "RunDeadline" else "schedule_to_close"

    @property
    def losses(self) -> int:
        """How many attempts before nobody has told the end of: whoever had the node died, or fell silent."""
        return self.number - 1 - self.retries - self.crashes - self.past

    @property
    def runs_always(self) -> bool:
        """Whether neither a halt of its run nor the run's deadline keeps it from running."""
        return self.node.trigger.runs_always

    @property
    def node_name(self) -> str:
        return self.plan.name_of(self.key.node)

    @property
    def runs(self) -> str:
        """The task that runs: its own, or the one that stands in for it."""
        guard = self.node.guard
        return guard.fallback if guard and self.uses_fallback else self.node.task

    def succeeded(self, outcome: Outcome) -> Ending:
        ending = self.gave(outcome.output)
        return ending._replace(cause=FALLBACK) if self.uses_fallback else ending

    def gave(self, output: bytes) -> Ending:
        return Ending(self.plan, self.key, self.token, self.shard_key, "succeeded", output=output)

    def awaiting(self, ticket: str, delay_seconds: float) -> Ending:
        """It waits for the end of a child run, which was no attempt so far, and looks by itself after the delay."""
        waiting = Ending(self.plan, self.key, self.token, self.shard_key, "retrying", delay_seconds=delay_seconds)
        return waiting._replace(counts=False, cause=f"{WAITS_FOR_RUN}{ticket}", ticket=ticket)

    def parked(self, delay_seconds: float) -> Ending:
        """Its breaker refuses: it was no attempt, and comes again."""
        guard = self.node.guard
        return self.waits(delay_seconds, f"{BEHIND_BREAKER}{guard.rules.name}" if guard else "")

    def waits(self, delay_seconds: float, cause: str) -> Ending:
        """It was no attempt, and comes again after the delay, or with what it waits for."""
        waiting = Ending(self.plan, self.key, self.token, self.shard_key, "retrying", delay_seconds=delay_seconds)
        return waiting._replace(counts=False, cause=cause)

    def failed(self, failure: Failure) -> Ending:
        goes_on = self.is_undo or self.plan.flow.on_failure is OnFailure.CONTINUE
        halt = "" if goes_on or self.plan.rules.handles(self.key.node) else "failed"
        return Ending(self.plan, self.key, self.token, self.shard_key, "failed", error=_error(failure), halt=halt)

    def skipped(self, cause: str) -> Ending:
        """It was not to run: it was no attempt."""
        return Ending(self.plan, self.key, self.token, self.shard_key, "skipped", cause=cause)

    def decided(self, case: str) -> Ending:
        """It is a switch, and goes the way of this case."""
        return self.gave(pack(case))

    def postponed(self, failure: Failure, delay_seconds: float) -> Ending:
        """It failed, and there will be another attempt."""
        error = _error(failure)
        return Ending(
            self.plan, self.key, self.token, self.shard_key, "retrying", error=error, delay_seconds=delay_seconds
        )

    def cancelled(self, reason: str) -> Ending:
        return not_started(self.plan, self.key, self.token, self.shard_key, reason)

    def stopped(self) -> Ending:
        """It ran, and heard that it should end."""
        message = f"it stopped: the run is {self.halt}"
        return cancelled(self.plan, self.key, self.token, self.shard_key, message)


def _error(failure: Failure) -> bytes:
    return pack({"type": failure.type, "message": failure.message, "traceback": failure.traceback})


class InFlight:
    """Attempts by node and by id."""

    def __init__(self) -> None:
        self._by_key: dict[NodeKey, Attempt] = {}
        self._by_id: dict[int, Attempt] = {}
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def by_key(self, key: NodeKey) -> Attempt | None:
        return self._by_key.get(key)

    def by_id(self, id_: int) -> Attempt | None:
        return self._by_id.get(id_)

    def next_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def add(self, attempt: Attempt) -> None:
        self._by_key[attempt.key] = attempt
        self._by_id[attempt.id] = attempt

    def remove(self, attempt: Attempt) -> None:
        del self._by_key[attempt.key]
        del self._by_id[attempt.id]

    def claimed_ids(self) -> set[int]:
        """Those whose nodes are this process's to run, by the store's word."""
        return {id_ for id_, attempt in self._by_id.items() if attempt.token}

    def all(self) -> list[Attempt]:
        return list(self._by_key.values())
