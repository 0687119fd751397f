"""Sends nodes what they wait for: signals, and decisions. Safe in threads."""

from __future__ import annotations

import re
import secrets
from typing import Any, NamedTuple

from taskmesh.client.parts import ClientParts
from taskmesh.client.restarting import Restarting
from taskmesh.client.verdicts import checked
from taskmesh.dispatch.dispatcher import Ready, outgoing
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import RunNotFoundError, RunStateError, TooLargeError, UsageError
from taskmesh.model.flow import Node
from taskmesh.model.payloads import payload_problem
from taskmesh.model.problems import Hints
from taskmesh.model.states import RETRIABLE_RUN_STATES, RunState
from taskmesh.model.waiting import Approve, Wait, hears, place_of_signal, signal_of
from taskmesh.store.calls import NodeKey, Who, Word
from taskmesh.store.signals import Signal, Signalled, Signals
from taskmesh.wire import pack, unpack
from taskmesh.wire.claim_checks import pack_output

_SIGNAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_ID_BYTES = 12


class _Target(NamedTuple):
    """A node that waits, or will, in a run."""

    plan: Plan
    shard_key: str
    place: int
    node: Node


class Signalling:
    """Each call may be repeated with the same id, and counts once."""

    def __init__(self, parts: ClientParts, max_value_bytes: int) -> None:
        self._parts = parts
        self._max_value_bytes = max_value_bytes
        self._signals = Signals(parts.store)
        self._restarting = Restarting(parts)

    def signal(self, run_id: str, name: str, payload: Any, by: str, signal_id: str | None = None) -> bool:
        """Send a signal, by its name or its node's; False when the same one, by its id, had come before.

        :raises RunNotFoundError: no such run. :raises UsageError: nothing waits for such a signal, or the payload does
        not keep to its schema. :raises TooLargeError: the payload is over its limit. :raises RunStateError: the run or
        the node has ended, or another signal came first.
        """
        target = self._target(run_id, name)
        if not isinstance(target.node.step, Wait):
            verbs = f"`taskmesh approve {run_id} {name}` or `taskmesh reject {run_id} {name}`"
            raise UsageError(f"node {target.node.name!r} of run {run_id!r} waits for a decision: {verbs}")
        packed = self._packed(target.node, target.node.step, payload)
        return self._send(target, self._signal(run_id, target, _checked_id(signal_id), checked(Who(by)).by, packed))

    def decide(self, run_id: str, name: str, approved: bool, who: Who) -> bool:
        """Approve or reject, with a comment as the reason; errors as of ``signal``.

        The same decision by the same person counts once, and so is its own id.
        """
        target = self._target(run_id, name)
        if not isinstance(target.node.step, Approve):
            raise UsageError(
                f"node {target.node.name!r} of run {run_id!r} waits for a signal, not for a decision: "
                f"`taskmesh signal {run_id} {name}`"
            )
        by, comment = checked(who)
        verdict = "approve" if approved else "reject"
        why = ("approved" if approved else "rejected") + (f": {comment}" if comment else "")
        signal = self._signal(run_id, target, f"{verdict}:{by}", by, pack([approved, comment]))
        return self._send(target, signal._replace(why=why))

    def _target(self, run_id: str, name: str) -> _Target:
        found = self._restarting.plan_of(run_id)
        if found is None:
            raise RunNotFoundError(run_id)
        plan, shard_key = found
        place = place_of_signal(plan.flow.kinds, name)
        if place is None:
            raise UsageError(_nobody_waits(plan, run_id, name))
        return _Target(plan, shard_key, place, plan.node(place))

    def _packed(self, node: Node, step: Wait, payload: Any) -> bytes:
        packed = pack_output(payload)
        if len(packed) > self._max_value_bytes:
            raise TooLargeError(
                f"the payload for node {node.name!r} has {len(packed)} bytes; "
                f"limits.max_value_bytes allows {self._max_value_bytes}"
            )
        # What will be stored is what is held to the schema: a tuple is a list there.
        problem = payload_problem(step.payload, unpack(packed)) if step.payload is not None else None
        if problem:
            raise UsageError(f"the payload does not keep to the schema of signal {signal_of(node)!r}: {problem}")
        return packed

    def _signal(self, run_id: str, target: _Target, signal_id: str, by: str, payload: bytes) -> Signal:
        return Signal(NodeKey(run_id, target.place), target.node.pool, signal_id, by, payload)

    def _send(self, target: _Target, signal: Signal) -> bool:
        run_id, place = signal.key
        [answer] = self._signals.signal_nodes([signal])
        if answer.word not in (Word.SIGNALLED, Word.AGAIN):
            if answer.word is Word.UNKNOWN:
                raise RunNotFoundError(run_id)
            raise RunStateError(run_id, _why_not(run_id, target.node, answer))
        if answer.token:
            ready = Ready(target.plan, run_id, place, target.shard_key, answer.attempt, answer.token, elsewhere=True)
            self._parts.publisher.publish([outgoing(ready)])
        return answer.word is Word.SIGNALLED


def _checked_id(signal_id: str | None) -> str:
    if signal_id is None:
        return secrets.token_hex(_ID_BYTES)
    if not _SIGNAL_ID.fullmatch(signal_id):
        raise UsageError(
            f"the signal id {signal_id!r:.200} is not usable: it must start with a letter or digit, have at most 128 "
            "characters, and besides letters and digits only . _ : @ -"
        )
    return signal_id


def _nobody_waits(plan: Plan, run_id: str, name: str) -> str:
    if name in plan.graph.index:
        begins = plan.begins_child(plan.graph.index[name])
        there = (
            f"; `taskmesh explain {run_id} {name}` names the run that it has begun, where one may wait"
            if begins
            else ""
        )
        return f"node {name!r} of run {run_id!r} waits for no signal and no decision{there}"
    known = [signal_of(node) for node in plan.flow.kinds if hears(node)]
    hint = Hints(known).did_you_mean(name) if known else "; none of its nodes waits for one"
    return f"run {run_id!r} has no node that waits for {name!r}{hint}"


def _why_not(run_id: str, node: Node, answer: Signalled) -> str:
    if answer.word is Word.TAKEN:
        return f"has had a signal for its node {node.name!r} before, from {answer.detail}; the first one counts"
    if answer.word is not Word.ENDED:
        return "is damaged in the store"
    if RunState(answer.detail).ended:
        again = f"; `taskmesh retry {run_id}` lets it go on" if RunState(answer.detail) in RETRIABLE_RUN_STATES else ""
        return f"has ended: {answer.detail}{again}"
    return f"goes on, but its node {node.name!r} has ended, and waits for nothing any more"
