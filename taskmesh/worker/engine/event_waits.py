"""Nodes that wait for an event, between their claim and their park: they are registered, so that it finds them.

What one turn has claimed begins to wait together, with a few calls of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.deferring import Arguments
from taskmesh.dispatch.events.waits import Begun, EventDelivery, place_of
from taskmesh.dispatch.gates import ValueOf
from taskmesh.dispatch.inputs import Inputs
from taskmesh.model.events.waits import EventWait
from taskmesh.wire import unpack
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from taskmesh.worker.engine.parts import Parts
from taskmesh.worker.engine.settling import Settler
from taskmesh.worker.engine.waiting import waiting_ending

CANNOT_WAIT = "CannotWait"


class EventWaiting(NamedTuple):
    """A node, how its attempt is to end, and whether that is with what it has waited for."""

    attempt: Attempt
    ending: Ending
    begun: Begun
    has_heard: bool

    @property
    def waits_on(self) -> bool:
        return self.ending.state == "retrying"


def event_waiting(
    attempt: Attempt,
    step: EventWait,
    open_seconds: float,
    inputs: Inputs,
    values: Sequence[bytes | None],
    value_of: ValueOf = unpack,
) -> EventWaiting:
    """What becomes of a claimed node that waits for an event; parameters as of ``waiting_ending``.

    :raises EventError: it can wait for nothing. :raises UnresolvedReferenceError: an output does not have what is
    matched. :raises PutAsideError: that was put aside, and ``value_of`` does not fetch it.
    """
    ending = waiting_ending(attempt, step, open_seconds, inputs, values)
    *_, heard_before, signal, _ = values
    arguments = Arguments(inputs.arguments(values), value_of)
    match = {path: arguments.one(path) for path in attempt.node.args}
    heard = unpack(heard_before) if heard_before else ()
    # Reckoned here, where what is wrong with it fails this node and no other.
    place = place_of(step, match, attempt.key, attempt.past)
    begun = Begun(attempt.plan, step, place, attempt.shard_key, ending.delay_seconds, heard)
    return EventWaiting(attempt, ending, begun, signal is not None)


class EventWaits:
    """Takes what was claimed. One thread."""

    def __init__(self, parts: Parts, settler: Settler) -> None:
        self._parts = parts
        self._settler = settler
        self._delivery = EventDelivery(parts.store, parts.plans)
        self._claimed: list[EventWaiting] = []

    def begin(self) -> None:
        """A turn begins. What one has left that broke off is claimed anew."""
        self._claimed = []

    def add(self, waiting: EventWaiting) -> None:
        """A node was claimed, and looked at."""
        self._claimed.append(waiting)

    def flush(self) -> None:
        """Register, or end, what was added.

        A node whose event has come is taken from here as by any signal, so the ending that it has here does not count.

        :raises StoreUnavailableError: nothing has ended; all of it is to be claimed again.
        """
        claimed, self._claimed = self._claimed, []
        if not claimed:
            return
        # One whose time is over begins, too: what came in time, while no worker was there, counts.
        begins = [each for each in claimed if not each.has_heard]
        arrived = self._delivery.begin([each.begun for each in begins])
        self._delivery.leave([each.begun.place for each in claimed if not each.waits_on])
        self._parts.dispatcher.publish([ready for each in arrived for ready in each.ready])
        refused = {
            each.attempt.id: Failure(CANNOT_WAIT, came.refusals[0], "")
            for each, came in zip(begins, arrived, strict=True)
            if came.refusals
        }
        for each in claimed:
            failure = refused.get(each.attempt.id)
            self._settler.end(each.attempt, each.attempt.failed(failure) if failure else each.ending)
