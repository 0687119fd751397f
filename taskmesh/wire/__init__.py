"""Bytes on the wire and in the store: msgpack with limits."""

from taskmesh.wire.codec import pack, unpack

__all__ = ["pack", "unpack"]
