"""``on`` of ``@mesh.flow``: which events begin runs, in the words of flow files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.model.durations import DURATION_RULE, read_duration
from taskmesh.model.events.batching import DEFAULT_BATCH, Batching
from taskmesh.model.events.on_event import OnEvent
from taskmesh.model.problems import Hints

_TYPES: Mapping[str, type] = {"event": str, "when": str, "params": Mapping, "dedup": str, "max_batch": int, "key": str}
_DURATIONS = ("window", "debounce", "max_wait")
_OF_BATCHES = (*_DURATIONS, "max_batch", "key")


def on_event_of(flow: str, said: Mapping[str, Any] | None) -> OnEvent | None:
    """What is said of events, if anything.

    :raises UsageError: for what cannot be said.
    """
    if said is None:
        return None
    known = [*_TYPES, *_DURATIONS]
    for key in said:
        if key not in known:
            hint = Hints(known).did_you_mean(key)
            raise UsageError(f"flow {flow!r}: on has no key {key!r}{hint}; its keys are {', '.join(known)}")
    if "event" not in said:
        raise UsageError(f"flow {flow!r}: on must name the type of an event, as on={{'event': 'order.created'}}")
    _refuse_other_types(flow, said)
    given = {key: said[key] for key in ("event", "when", "dedup") if key in said}
    return OnEvent(**given, params=dict(said.get("params", {})), batching=_batching(flow, said))


def _refuse_other_types(flow: str, said: Mapping[str, Any]) -> None:
    for key, value in said.items():
        wanted = _TYPES.get(key, object)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise UsageError(f"flow {flow!r}: {key} of on must be a {wanted.__name__.lower()}, not {value!r:.200}")


def _batching(flow: str, said: Mapping[str, Any]) -> Batching | None:
    if said.keys().isdisjoint(_OF_BATCHES):
        return None
    window, debounce, longest = (_duration(flow, key, said) for key in _DURATIONS)
    return Batching(window, debounce, longest, said.get("max_batch", DEFAULT_BATCH), said.get("key", ""))


def _duration(flow: str, key: str, said: Mapping[str, Any]) -> float | None:
    if key not in said:
        return None
    seconds = read_duration(said[key])
    if seconds is None:
        raise UsageError(f"flow {flow!r}: {key} of on must be {DURATION_RULE}, not {said[key]!r:.200}")
    return seconds
