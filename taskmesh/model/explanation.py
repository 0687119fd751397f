"""Says in words what an unfinished node waits for, and until when. Pure rules over what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from taskmesh.model.durations import duration_text
from taskmesh.model.flow import Node
from taskmesh.model.next_event import EventKind, NextEvent, NodeFacts, next_event
from taskmesh.model.policies import DEFAULT_RETRY, RetryPolicy, Wait
from taskmesh.model.states import NodeState
from taskmesh.model.waiting import WAITING
from taskmesh.model.waiting_words import wait_ends_at, waiting_words

MAX_NEEDS = 5
MESSAGE_LENGTH = 300

STALE_PROBE_SECONDS = 30.0
"""Probes leave about once a second; a queue that is served brings them sooner than this, but for a long backlog."""

_NO_KEEPER = "; nobody keeps house now: start a worker or `taskmesh keeper`"


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """What one node waits for. Times in epoch seconds of the store's clock; ``attempt`` counts those that began.

    ``event`` is ``nodes``, ``claim``, ``attempt``, ``takeover``, ``timer``, ``breaker``, ``signal`` or ``resume``; None
    where the node has ended, or nothing would bring it on, which is a fault of the engine. ``until`` is when a lease
    ends, a timer rings or a wait is over, where that is certain; ``since`` when it became ready or began to run.
    ``reasons`` are sentences, the most telling one first.
    """

    node: str
    state: NodeState
    attempt: int = 0
    since: float | None = None
    event: str | None = None
    until: float | None = None
    needs: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def saying(self, reasons: Sequence[str]) -> NodeExplanation:
        """The same with more sentences."""
        return replace(self, reasons=(*self.reasons, *reasons)) if reasons else self


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known around a node. ``servers``: how many I/O processes consume its pool.

    ``probed_at`` is when the newest probe left that came through the pool's slowest shard, None where none has;
    ``is_kept`` whether somebody keeps house there. ``resume`` is the command that lets its run go on.
    """

    now: float
    servers: int
    probed_at: float | None
    is_kept: bool
    resume: str = ""
    needed: Mapping[str, NodeState] | None = None


class LastError(NamedTuple):
    """What the last attempt that failed has said, as TYPE: MESSAGE; empty where none has.

    ``is_unknown_task``: its worker did not know the task, and left the node to others.
    """

    text: str = ""
    is_unknown_task: bool = False


NO_ERROR = LastError()


@dataclass(frozen=True, slots=True)
class Attempts:
    """What has become of a node so far; ``opened_at`` is when it was ready first."""

    attempt: int = 0
    retries: int = 0
    started_at: float = 0.0
    opened_at: float = 0.0
    holder: str = ""
    error: LastError = NO_ERROR


def explain_node(node: Node, facts: NodeFacts, past: Attempts, around: Circumstances) -> NodeExplanation:
    """What an unfinished node waits for."""
    event = next_event(facts, around.now)
    reasons = _reasons(node, facts, past, around, event)
    since = {NodeState.READY: facts.ready_at, NodeState.RUNNING: past.started_at}.get(facts.state)
    return NodeExplanation(
        node.name,
        facts.state,
        past.attempt,
        since,
        event and event.kind,
        event and _until(node, past, event),
        facts.needs,
        tuple(reasons),
    )


def _until(node: Node, past: Attempts, event: NextEvent) -> float | None:
    """A node that waits for long is looked at before that is over."""
    if event.at is None or not isinstance(node.step, WAITING) or event.kind not in (EventKind.TIMER, EventKind.SIGNAL):
        return event.at
    return wait_ends_at(node, past.opened_at, event.at)


def _reasons(
    node: Node, facts: NodeFacts, past: Attempts, around: Circumstances, event: NextEvent | None
) -> Iterator[str]:
    if event is None:
        yield "nothing stored would bring it on; this is a fault of taskmesh, and should be reported"
    elif event.kind is EventKind.NODES:
        yield _of_needs(facts, around) + ("" if node.trigger.is_plain else f", by {node.trigger}")
    elif event.kind is EventKind.RESUME:
        yield f"is held while its run is paused; `{around.resume}` lets it go on"
    elif event.kind is EventKind.CLAIM:
        yield from _of_ready(node, facts, past, around)
    elif event.kind is EventKind.ATTEMPT:
        yield from _of_running(node, facts, past, around)
    elif event.kind is EventKind.TAKEOVER:
        yield _of_orphan(facts, past, around)
    elif facts.child:
        yield from _of_parent(facts, around, _moment(event.at or 0.0, around.now))
    else:
        yield from _of_retrying(node, facts, past, around, event)


def _of_needs(facts: NodeFacts, around: Circumstances) -> str:
    states = around.needed or {}
    named = ", ".join(f"{name} ({states.get(name, NodeState.WAITING)})" for name in facts.needs[:MAX_NEEDS])
    more = f" and {len(facts.needs) - MAX_NEEDS} more" if len(facts.needs) > MAX_NEEDS else ""
    return f"waits for {named}{more}"


def _of_ready(node: Node, facts: NodeFacts, past: Attempts, around: Circumstances) -> Iterator[str]:
    waited = duration_text(around.now - facts.ready_at)
    if facts.is_halted:
        who = "the keeper ends it within seconds" + ("" if around.is_kept else _NO_KEEPER)
        yield f"is ready since {waited}, and ends as cancelled, since nothing more of its run starts: {who}"
        return
    yield f"is in the queues of pool {node.pool!r} since {waited}, and waits for a worker"
    yield _of_queue(node.pool, around)
    yield from _limits_of_waiting(node, facts, past, around)
    if past.error.text:
        yield f"the last attempt said: {past.error.text}"
    if around.servers:
        yield _of_keeper(facts.ready_at, around)


def _of_queue(pool: str, around: Circumstances) -> str:
    if not around.servers:
        return f"no worker serves pool {pool!r}; start one with `taskmesh worker -A APP --pool {pool}`"
    served = f"{around.servers} I/O process{'es' if around.servers > 1 else ''} of workers serve the pool"
    if around.probed_at is None:
        return f"{served}; no probe has come through its queues yet"
    age = around.now - around.probed_at
    if age > STALE_PROBE_SECONDS:
        return (
            f"{served}; no probe that was sent in the last {duration_text(age)} has come through all of its queues: "
            "they hold more than the workers take, or a shard brings nothing (`taskmesh doctor`)"
        )
    return f"{served}; what arrives now was sent at most {duration_text(age)} ago"


def _of_keeper(due_at: float, around: Circumstances) -> str:
    when = "once a probe that is sent now has come through"
    if around.probed_at is not None and around.probed_at > due_at:
        when = "within seconds after that is certain"
    return f"should its message be lost, the keeper publishes it again {when}" + ("" if around.is_kept else _NO_KEEPER)


def _limits_of_waiting(node: Node, facts: NodeFacts, past: Attempts, around: Circumstances) -> Iterator[str]:
    limit = node.limits.schedule_to_start
    if limit is not None:
        yield f"fails when it is claimed {_moment(facts.ready_at + limit, around.now)} or later: schedule_to_start"
    yield from _limit_of_all(node, past, around)


def _limit_of_all(node: Node, past: Attempts, around: Circumstances) -> Iterator[str]:
    limit = node.limits.schedule_to_close
    if limit is not None:
        yield f"must have succeeded {_moment(past.opened_at + limit, around.now)}: schedule_to_close"


def _of_running(node: Node, facts: NodeFacts, past: Attempts, around: Circumstances) -> Iterator[str]:
    ran = duration_text(around.now - past.started_at)
    yield f"attempt {past.attempt} runs on {past.holder} since {ran}"
    if facts.lease_until is not None:
        lease = duration_text(facts.lease_until - around.now)
        yield f"the lease of {past.holder} is renewed, and is in force for {lease} more; others take over when it ends"
    if node.limits.start_to_close is not None:
        yield f"is killed {_moment(past.started_at + node.limits.start_to_close, around.now)}: timeout"
    yield from _limit_of_all(node, past, around)
    if node.limits.heartbeat is not None:
        yield f"is killed when it gives no heartbeat for {duration_text(node.limits.heartbeat)}: heartbeat_timeout"


def _of_orphan(facts: NodeFacts, past: Attempts, around: Circumstances) -> str:
    ended = "is over" if facts.lease_until is None else f"ended {duration_text(around.now - facts.lease_until)} ago"
    sentence = (
        f"attempt {past.attempt} was on {past.holder}, whose lease {ended}; another worker takes it over with its "
        "message, or the keeper publishes it again"
    )
    if not around.servers:
        return sentence + "; no worker serves its pool"
    return sentence + ("" if around.is_kept else _NO_KEEPER)


def _of_retrying(
    node: Node, facts: NodeFacts, past: Attempts, around: Circumstances, event: NextEvent
) -> Iterator[str]:
    yield from _of_next_attempt(node, facts, past, _until(node, past, event), around.now)
    if past.error.text:
        yield f"the last one said: {past.error.text}"
    if facts.timer_at is None:
        yield "its timer is lost; the keeper sets it again"
    if facts.is_held:
        yield f"its run is paused, so it is only ready then; `{around.resume}` lets it go on"
    yield from _limit_of_all(node, past, around)
    if not around.is_kept:
        yield "nobody rings timers now: start a worker or `taskmesh keeper`"


def _of_parent(facts: NodeFacts, around: Circumstances, when: str) -> Iterator[str]:
    yield f"waits for the end of run {facts.child}, which it has begun; `taskmesh explain {facts.child}` goes on there"
    if facts.is_halted:
        yield "nothing more of its own run starts, so the keeper has that run end, unless it is to go on alone"
    yield f"looks by itself whether that has ended {when}"
    if not around.is_kept:
        yield "nobody ends what is halted, and nobody rings timers: start a worker or `taskmesh keeper`"


def _of_next_attempt(node: Node, facts: NodeFacts, past: Attempts, until: float | None, now: float) -> Iterator[str]:
    when = _moment(until or 0.0, now)
    if facts.is_halted:
        yield "is woken to end as cancelled, since nothing more of its run starts"
    elif facts.breaker:
        name = facts.breaker
        yield f"waits for circuit breaker {name!r}, {when}, and uses up no attempt; `taskmesh breakers show {name}`"
    elif isinstance(node.step, WAITING):
        yield from waiting_words(node, until, now)
    elif past.error.is_unknown_task:
        yield f"is given to other workers {when}: the last one did not know its task"
    else:
        policy = node.retry or DEFAULT_RETRY
        # Attempts that were lost with their worker are no tries.
        tries = f"{past.retries} of at most {policy.max_attempts} tries have failed"
        yield f"is tried again {when}; {tries} ({_wait(policy)})"


def _wait(policy: RetryPolicy) -> str:
    if policy.wait == Wait.FIXED:
        return f"wait fixed, {duration_text(policy.base_seconds)}"
    if policy.wait == Wait.LIST:
        return f"wait list, {len(policy.delays_seconds)} delays"
    return f"wait exponential, {duration_text(policy.base_seconds)} to {duration_text(policy.max_seconds)}"


def _moment(at: float, now: float) -> str:
    return f"in {duration_text(at - now)}" if at > now else "at once"
