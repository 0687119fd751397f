"""A flow as bytes: canonical, so that equal flows have equal hashes."""

from __future__ import annotations

import hashlib
from typing import Any

from taskmesh.errors import WireError
from taskmesh.model.flow import Flow, Node, OnFailure, Param, ParamType
from taskmesh.wire.codec import pack, unpack

FLOW_SCHEMA = 1
_HASH_BYTES = 16


def encode_flow(flow: Flow) -> bytes:
    """The canonical bytes of a flow."""
    return pack(
        [
            FLOW_SCHEMA,
            flow.name,
            flow.version,
            [[param.name, param.type, param.required, param.default] for param in flow.params],
            flow.on_failure,
            flow.shard_by,
            flow.result,
            [[node.name, node.task, node.args, node.needs, node.pool] for node in flow.nodes],
        ]
    )


def flow_hash(body: bytes) -> str:
    """The address of a flow: a 128 bit BLAKE2b of its canonical bytes, in hex."""
    return hashlib.blake2b(body, digest_size=_HASH_BYTES).hexdigest()


def decode_flow(body: bytes) -> Flow:
    """Read back what ``encode_flow`` wrote.

    :raises WireError: for another schema, or bytes that are no flow.
    """
    document = unpack(body)
    if not isinstance(document, list) or not document or document[0] != FLOW_SCHEMA:
        raise WireError("not a flow of a schema that this version reads; upgrade the workers first, then the producers")
    try:
        return _flow_of(*document[1:])
    except (TypeError, ValueError) as error:
        raise WireError(f"not a flow: {error}") from None


def _flow_of(
    name: str, version: str, params: list[Any], on_failure: str, shard_by: str, result: Any, nodes: list[Any]
) -> Flow:
    return Flow(
        name=name,
        version=version,
        params=tuple(Param(each[0], ParamType(each[1]), each[2], each[3]) for each in params),
        on_failure=OnFailure(on_failure),
        shard_by=shard_by,
        result=result,
        nodes=tuple(Node(each[0], each[1], each[2], tuple(each[3]), each[4]) for each in nodes),
    )
