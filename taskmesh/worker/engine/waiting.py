"""What becomes of a node that waits, each time it is claimed: it has waited long enough, or is parked again.

A node that is parked holds nothing here. It is ready again when its time is over, or with its signal. A signal that
comes between claim and end takes the node from this process, so neither a park nor a time that is over can miss it.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.deferring import Arguments
from taskmesh.dispatch.gates import ValueOf
from taskmesh.dispatch.inputs import Inputs
from taskmesh.model.durations import duration_text
from taskmesh.model.events.waits import EventWait
from taskmesh.model.waiting import AWAITING, SECONDS, SLEEPING, Approve, Sleep, Wait, signal_of, slept_seconds
from taskmesh.model.waiting_words import timeout_error
from taskmesh.store.signals import KeptSignal
from taskmesh.wire import pack, unpack
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt

REJECTED = "Rejected"
SLEEP_ERROR = "SleepError"

LONGEST_PARK_SECONDS = 30 * 86_400.0
"""A node that waits for longer, or without end, is looked at so often. So every one has a timer, and none stays for
years that nobody needs any more, as after a run that was terminated."""

LONGEST_EVENT_PARK_SECONDS = 86_400.0
"""One that waits for an event registers anew so often: what a failover of Redis may have lost is there again then."""


def waiting_ending(
    attempt: Attempt,
    step: Sleep | Wait | Approve,
    open_seconds: float,
    inputs: Inputs,
    values: Sequence[bytes | None],
    value_of: ValueOf = unpack,
) -> Ending:
    """How the attempt of a node ends that was ready first ``open_seconds`` ago.

    ``values`` are those of the fields of its arguments and of its signal; ``value_of`` gives the value of something
    stored.

    :raises PutAsideError: the length of a sleep is in what was put aside, and ``value_of`` does not fetch it.
    """
    if isinstance(step, Sleep):
        seconds = step.seconds
        try:
            if seconds is None:
                seconds = slept_seconds(Arguments(inputs.arguments(values), value_of).one(SECONDS))
        except ValueError as error:
            return attempt.failed(Failure(SLEEP_ERROR, str(error), ""))
        return _slept(attempt, seconds, open_seconds)
    *_, signal, payload = values
    if signal is not None and payload is not None:
        return _heard(attempt, step, KeptSignal.read(signal), payload)
    longest_seconds = LONGEST_EVENT_PARK_SECONDS if isinstance(step, EventWait) else LONGEST_PARK_SECONDS
    if step.timeout_seconds is None:
        return attempt.waits(longest_seconds, AWAITING)
    if open_seconds < step.timeout_seconds:
        return attempt.waits(min(step.timeout_seconds - open_seconds, longest_seconds), AWAITING)
    return _timed_out(attempt, step, step.timeout_seconds)


def _slept(attempt: Attempt, seconds: float, open_seconds: float) -> Ending:
    if open_seconds >= seconds:
        return attempt.gave(pack(None))
    return attempt.waits(min(seconds - open_seconds, LONGEST_PARK_SECONDS), SLEEPING)


def _heard(attempt: Attempt, step: Wait | Approve, signal: KeptSignal, payload: bytes) -> Ending:
    if isinstance(step, Wait):
        return attempt.gave(payload)
    approved, comment = unpack(payload)
    if not approved:
        said = f": {comment}" if comment else ""
        return attempt.failed(Failure(REJECTED, f"rejected by {signal.by}{said}", ""))
    return attempt.gave(pack({"approved": True, "by": signal.by, "at": signal.at, "comment": comment}))


def _timed_out(attempt: Attempt, step: Wait | Approve, seconds: float) -> Ending:
    if isinstance(step, Wait) and step.default is not None:
        return attempt.gave(pack(step.default.value))
    within = duration_text(seconds)
    if isinstance(step, Approve):
        message = f"nobody has approved or rejected it within {within}"
    elif isinstance(step, EventWait):
        message = f"no event {step.event!r} that matches has come within {within}"
    else:
        message = f"no signal {signal_of(attempt.node)!r} has come within {within}"
    return attempt.failed(Failure(timeout_error(step), message, ""))
