"""The definition of a schedule as bytes: its rules, and the flow that its runs are of."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from taskmesh.errors import WireError
from taskmesh.model.schedules.schedule import CatchUp, Overlap, Schedule, When
from taskmesh.wire.codec import pack, unpack

SCHEMA = 1
_DIGEST_BYTES = 16


class Definition(NamedTuple):
    """A schedule and the canonical bytes of its flow."""

    schedule: Schedule
    flow_body: bytes


def encode_definition(definition: Definition) -> bytes:
    """The bytes of a definition: the same for the same definition."""
    schedule = definition.schedule
    when = schedule.when
    return pack(
        [
            SCHEMA,
            schedule.id,
            [when.cron, when.every_seconds, when.at, when.zone],
            _sorted(schedule.params),
            schedule.overlap,
            schedule.catch_up,
            float(schedule.catch_up_window_seconds),
            float(schedule.jitter_seconds),
            _sorted(schedule.tags),
            schedule.deadline_seconds,
            definition.flow_body,
        ]
    )


def digest_of(body: bytes) -> str:
    """What tells whether two definitions are the same."""
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()


def decode_definition(body: bytes) -> Definition:
    """:raises WireError: the bytes are no definition that this version reads."""
    fields = unpack(body)
    if not isinstance(fields, list) or fields[:1] != [SCHEMA]:
        raise WireError("not the definition of a schedule that this version reads")
    try:
        _, id_, when, params, overlap, catch_up, window, jitter, tags, deadline, flow_body = fields
        rules = Overlap(overlap), CatchUp(catch_up), window, jitter
        return Definition(Schedule(id_, When(*when), params, *rules, tags, deadline), flow_body)
    except (ValueError, TypeError) as error:
        raise WireError(f"not the definition of a schedule: {error}") from None


def _sorted(value: Any) -> Any:
    """The value with its keys in order, so that equal ones have equal bytes."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value
