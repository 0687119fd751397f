"""The part of a mesh that adds nodes to a flow which wait and run no task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from taskmesh.errors import UsageError
from taskmesh.model.events.waits import DEFAULT_KEEP_SECONDS, EventWait
from taskmesh.model.waiting import QUESTION, SECONDS, Approve, Default, Sleep, Wait
from taskmesh.tasks.placeholders import Placeholder
from taskmesh.tasks.trace import Handle, Trace, current_trace

NO_DEFAULT: Final = Default(None)
"""Told apart from a default of None by being this very object."""


class Waits:
    """Nodes that hold no executor and no message while they wait. For functions with ``@mesh.flow``."""

    def sleep(self, seconds: float | Placeholder) -> Handle:
        """In a flow, add a node that waits so long from when it is ready: up to 100 years, or what a handle gives.

        :raises UsageError: outside of a flow.
        """
        trace = _trace("sleep")
        if isinstance(seconds, Placeholder):
            return trace.step(Sleep(), {SECONDS: seconds})
        return trace.step(Sleep(_number(seconds, "sleep")), {})

    def wait_signal(
        self,
        name: str,
        *,
        payload: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        default: Any = NO_DEFAULT,
        signal: str = "",
    ) -> Any:
        """In a flow, add a node of this name that waits for a signal, whose payload is its output; returns its handle.

        ``payload`` is a JSON Schema that payloads must keep to. After ``timeout`` seconds from when it is ready its
        output is the ``default``; without one it fails with ``SignalTimeout``. The signal has the node's name, or
        the one in ``signal``.

        :raises UsageError: outside of a flow, or for a name that is taken.
        """
        trace = _trace("wait_signal")
        _refuse_handles("wait_signal", payload, default)
        kept = None if default is NO_DEFAULT else Default(default)
        step = Wait(signal, payload, _number(timeout, "timeout"), kept)
        return trace.step(step, {}).named(name)

    def wait_event(
        self,
        name: str,
        event: str,
        *,
        match: Mapping[str, Any],
        filter: str = "",
        keep: float = DEFAULT_KEEP_SECONDS,
        payload: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        default: Any = NO_DEFAULT,
    ) -> Any:
        """In a flow, add a node of this name that waits for an event from elsewhere; its data are the node's output.

        ``event`` is its type. ``match`` maps paths in its data, as ``customer.id``, to the values that they must have,
        which may be handles; with an empty one any event of the type will do. ``filter`` is a condition in CEL over
        the event. Events count that came up to ``keep`` seconds before the node began to wait. ``payload``,
        ``timeout`` and ``default`` are as of ``wait_signal``; without a default it fails with ``EventTimeout``.
        Returns the handle of the node.

        :raises UsageError: outside of a flow, or for a name that is taken.
        """
        trace = _trace("wait_event")
        _refuse_handles("wait_event", payload, default)
        for value, kind in ((event, str), (filter, str), (match, Mapping), (keep, int | float)):
            if not isinstance(value, kind):
                raise UsageError(
                    f"mesh.wait_event() takes two texts, a mapping as match, and seconds, not {value!r:.100}"
                )
        kept = None if default is NO_DEFAULT else Default(default)
        step = EventWait("", payload, _number(timeout, "timeout"), kept, event, filter, _number(keep, "keep"))
        return trace.step(step, match).named(name)

    def approval(self, name: str, question: str | Placeholder, *, timeout: float | None = None) -> Any:
        """In a flow, add a node of this name that waits until somebody approves or rejects what it asks.

        Returns its handle. Its output says who has approved, when, and with which comment. It fails with ``Rejected``,
        or with ``SignalTimeout`` when nobody has decided ``timeout`` seconds after it was ready.

        :raises UsageError: outside of a flow, or for a name that is taken.
        """
        trace = _trace("approval")
        return trace.step(Approve(_number(timeout, "timeout")), {QUESTION: question}).named(name)


def _trace(what: str) -> Trace:
    trace = current_trace()
    if trace is None:
        raise UsageError(f"mesh.{what}() is for functions with @mesh.flow")
    return trace


def _number(seconds: Any, what: str) -> Any:
    if seconds is None or (isinstance(seconds, int | float) and not isinstance(seconds, bool)):
        return seconds
    raise UsageError(f"{what} must be a number of seconds, not {seconds!r:.100}")


def _refuse_handles(what: str, *values: Any) -> None:
    for value in values:
        if isinstance(value, Placeholder):
            raise UsageError(f"mesh.{what}() takes no handles as its payload or default: both are fixed")
        if isinstance(value, Mapping):
            _refuse_handles(what, *value.values())
        elif isinstance(value, list | tuple) and value is not NO_DEFAULT:
            _refuse_handles(what, *value)
