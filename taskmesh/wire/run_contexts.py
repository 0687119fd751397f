"""The context of a run as bytes: nothing at all where nobody has said anything."""

from __future__ import annotations

from taskmesh.errors import WireError
from taskmesh.model.run_context import NO_CONTEXT, RunContext
from taskmesh.wire.codec import pack, unpack

SCHEMA = 1
MAX_BYTES = 16 * 1024
"""Far more than the limits of a context allow."""


def encode_context(context: RunContext) -> bytes:
    """The bytes of a context; empty where it says nothing."""
    if not context:
        return b""
    said = context.request_id, context.tenant, context.traceparent, context.tracestate
    return pack([SCHEMA, *said, {key: context.metadata[key] for key in sorted(context.metadata)}])


def decode_context(packed: bytes | None) -> RunContext:
    """Read back what ``encode_context`` wrote; nothing stands for a context that says nothing.

    :raises WireError: the bytes are no context that this version reads.
    """
    if not packed:
        return NO_CONTEXT
    fields = unpack(packed, MAX_BYTES)
    if not isinstance(fields, list) or fields[:1] != [SCHEMA] or len(fields) != 6 or not isinstance(fields[5], dict):
        raise WireError("not the context of a run that this version reads; upgrade the workers first")
    return RunContext(*fields[1:])
