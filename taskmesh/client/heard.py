"""Tells of nodes that wait for signals, events or decisions: what is asked, how to answer, and what has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from taskmesh.client.outputs import ValueOf
from taskmesh.dispatch.deferring import Arguments
from taskmesh.dispatch.inputs import Inputs
from taskmesh.dispatch.plan import Plan
from taskmesh.errors import PayloadError, PayloadUnavailableError, UnresolvedReferenceError
from taskmesh.model.durations import duration_text
from taskmesh.model.events.waits import EventWait
from taskmesh.model.explanation import MESSAGE_LENGTH
from taskmesh.model.flow import Node
from taskmesh.model.states import NodeState
from taskmesh.model.waiting import QUESTION, Approve, hears, signal_of
from taskmesh.store.reader import Reader
from taskmesh.store.records import RunRecord
from taskmesh.store.signals import KeptSignal
from taskmesh.wire import unpack


class Heard:
    """Reads; changes nothing. Safe in threads. ``value_of`` gives the value of something stored of a run."""

    def __init__(self, reader: Reader, value_of: Callable[[str, bytes], Any]) -> None:
        self._reader = reader
        self._value_of = value_of

    def reasons(self, plan: Plan, run_id: str, states: Mapping[int, NodeState], now: float) -> dict[int, list[str]]:
        """Sentences about those of these nodes that wait for something that is sent, or did."""
        hearing = [place for place in states if place >= 0 and hears(plan.node(place))]
        fields = [plan.inputs(place).fields for place in hearing]
        values = iter(self._reader.run_fields(run_id, [field for each in fields for field in each]) if fields else ())
        return {
            place: list(
                _of_node(
                    plan,
                    run_id,
                    place,
                    states[place],
                    list(islice(values, len(each))),
                    now,
                    partial(self._value_of, run_id),
                )
            )
            for place, each in zip(hearing, fields, strict=True)
        }


def _of_node(
    plan: Plan,
    run_id: str,
    place: int,
    state: NodeState,
    values: Sequence[bytes | None],
    now: float,
    value_of: ValueOf,
) -> Iterator[str]:
    node, (*rest, signal, payload) = plan.node(place), values
    if isinstance(node.step, Approve | EventWait) and state in _PARKED:
        yield f"{_wanted(node, plan.inputs(place), rest, value_of):.{MESSAGE_LENGTH}}"
    if signal is not None and payload is not None:
        yield _came(signal_details(node, signal, payload), now)
    elif state in _PARKED:
        yield from _how(node, run_id)


def _wanted(node: Node, inputs: Inputs, values: Sequence[bytes | None], value_of: ValueOf) -> str:
    """What is asked of people, or of an event."""
    asks = "it asks: " if isinstance(node.step, Approve) else "it asks of the event: "
    begin = len(inputs.gate.fields) if inputs.gate else 0
    try:
        arguments = Arguments(inputs.arguments(values[begin:]), value_of)
        if not isinstance(node.step, EventWait):
            return f"{asks}{arguments.one(QUESTION)}"
        match = [f"{path} = {arguments.one(path)!r}" for path in node.args]
    except (UnresolvedReferenceError, PayloadError, PayloadUnavailableError) as error:
        return f"{asks}(what, cannot be told: {error})"
    return asks + (", ".join([*match, *([node.step.filter] if node.step.filter else [])]) or "nothing more")


_PARKED = (NodeState.READY, NodeState.RUNNING, NodeState.RETRYING)
"""Where what it needs has ended: before, nobody knows what it asks."""


class SignalDetails(NamedTuple):
    """What has come for a node that waits: from whom, when in epoch seconds, and by which id it is known.

    ``verdict`` is ``approved`` or ``rejected`` where it was a decision, with a ``comment``.
    """

    by: str
    at: float
    id: str
    verdict: str = ""
    comment: str = ""


def signal_in(record: RunRecord, position: int, node: Node) -> SignalDetails | None:
    """What has come for a node; None where nothing has."""
    kept = position in record.signals and position in record.payloads
    return signal_details(node, record.signals[position], record.payloads[position]) if kept else None


def signal_details(node: Node, signal: bytes, payload: bytes) -> SignalDetails:
    """Read what is stored of a signal."""
    id_, by, at = KeptSignal.read(signal)
    if not isinstance(node.step, Approve):
        return SignalDetails(by, at, id_)
    approved, comment = unpack(payload)
    return SignalDetails(by, at, id_, "approved" if approved else "rejected", comment)


def _came(signal: SignalDetails, now: float) -> str:
    ago = f"{duration_text(now - signal.at)} ago"
    if not signal.verdict:
        return f"its signal came {ago}, from {signal.by}, with the id {signal.id}"
    return f"{signal.verdict} by {signal.by} {ago}" + (f": {signal.comment}" if signal.comment else "")


def _how(node: Node, run_id: str) -> Sequence[str]:
    name = signal_of(node)
    if isinstance(node.step, Approve):
        return (f"`taskmesh approve {run_id} {name}` or `taskmesh reject {run_id} {name}` decides",)
    signal = f"`taskmesh signal {run_id} {name} --payload JSON`"
    if isinstance(node.step, EventWait):
        return (f"`taskmesh events publish {node.step.event} --data JSON` sends it, and {signal} stands in for it",)
    return (f"{signal} sends it",)
