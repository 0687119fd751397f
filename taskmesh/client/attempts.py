"""What the record of a node tells of its attempts."""

from __future__ import annotations

from taskmesh.model.explanation import MESSAGE_LENGTH, NO_ERROR, Attempts, LastError
from taskmesh.store.records import NodeRecord
from taskmesh.wire import unpack


def attempts_of(record: NodeRecord | None, error: LastError) -> Attempts:
    if record is None:
        return Attempts()
    return Attempts(
        attempt=record.attempt,
        retries=record.retries,
        started_at=record.started_at,
        opened_at=record.opened_at,
        holder=record.holder,
        error=error,
    )


def last_error(packed: bytes | None) -> LastError:
    if packed is None:
        return NO_ERROR
    error = unpack(packed)
    return LastError(f"{error['type']}: {error['message']}"[:MESSAGE_LENGTH], "handed_on" in error)
