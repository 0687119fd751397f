"""Claim checks: what stands in Redis for a value that was put aside, since it is large.

A claim check is the whole of a stored value: one msgpack extension of a type that no value of a user can have (see
``pack_output``). Arguments that are made of one are sent to the executor unresolved, in another such extension; the
parameters of a run of which some were put aside are in a third one, where a mapping stands else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from taskmesh.errors import WireError
from taskmesh.wire.codec import CLAIM_CHECK, DEFERRED, PARTED, pack, unpack

NAME_BYTES = 16
DIGEST_BYTES = 32
_MAX_CHECK_BYTES = 128


class ClaimCheck(NamedTuple):
    """A value that was put aside: under which name, how many bytes, and their digest (BLAKE2b)."""

    name: bytes
    size: int
    digest: bytes


class Params(NamedTuple):
    """The parameters of a run: those that are ``here``, and what stands for those that were put aside."""

    here: dict[str, Any]
    aside: Mapping[str, ClaimCheck] = {}

    def packed(self) -> bytes:
        """As they are stored."""
        if not self.aside:
            return pack(self.here)
        checks = {name: [*check] for name, check in self.aside.items()}
        return pack(msgpack.ExtType(PARTED, pack([self.here, checks])))


def pack_output(value: Any) -> bytes:
    """Encode what a user gave as an output.

    :raises WireError: it has no encoding, or is made to look like what stands for something else.
    """
    packed = pack(value)
    # Nearly all values are told from extensions by their first byte.
    if 0xC7 <= packed[0] <= 0xD8 and _extension_of(packed) in (CLAIM_CHECK, DEFERRED, PARTED):
        raise WireError(f"a msgpack.ExtType of code {_extension_of(packed)} has a meaning here; use plain data")
    return packed


def pack_check(check: ClaimCheck) -> bytes:
    return pack(msgpack.ExtType(CLAIM_CHECK, pack([*check])))


def read_check(packed: bytes) -> ClaimCheck | None:
    """The claim check that stands for a stored output; None where that is the output itself.

    :raises WireError: it is a claim check that cannot be read.
    """
    if len(packed) > _MAX_CHECK_BYTES or _extension_of(packed) != CLAIM_CHECK:
        return None
    return _check_of(unpack(_data_of(packed)))


def read_params(packed: bytes | None) -> Params:
    """The parameters of a run, as they are stored.

    :raises WireError: they cannot be read.
    """
    if not packed:
        return Params({})
    if _extension_of(packed) != PARTED:
        return Params(unpack(packed))
    match unpack(_data_of(packed)):
        case [dict(here), dict(checks)]:
            return Params(here, {name: _check_of(fields) for name, fields in checks.items()})
    raise WireError("no parameters that this version reads")


def is_parted(params: bytes) -> bool:
    """Whether some of the parameters of a run were put aside."""
    return _extension_of(params) == PARTED


def _check_of(fields: Any) -> ClaimCheck:
    match fields:
        case [bytes(name), int(size), bytes(digest)] if len(name) == NAME_BYTES and len(digest) == DIGEST_BYTES:
            return ClaimCheck(name, size, digest)
    raise WireError("not a claim check that this version reads")


def pack_deferred(fields: list[Any]) -> bytes:
    """Arguments that are still to be resolved, from packed parts."""
    return pack(msgpack.ExtType(DEFERRED, pack(fields)))


def read_deferred(packed: bytes) -> list[Any] | None:
    """What ``pack_deferred`` was given; None for arguments that are resolved."""
    if _extension_of(packed) != DEFERRED:
        return None
    fields: list[Any] = unpack(_data_of(packed))
    return fields


def _extension_of(packed: bytes) -> int | None:
    """The code of the extension that a packed value is; None where it is something else."""
    first = packed[0] if packed else 0
    if 0xD4 <= first <= 0xD8:
        at = 1
    elif first in _LENGTH_BYTES:
        at = 1 + _LENGTH_BYTES[first]
    else:
        return None
    return packed[at] if len(packed) > at else None


_LENGTH_BYTES = {0xC7: 1, 0xC8: 2, 0xC9: 4}
"""The bytes of the length in each form of an extension that has one."""


def _data_of(packed: bytes) -> bytes:
    try:
        data: bytes = msgpack.unpackb(packed, ext_hook=lambda _, data: data)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"not a msgpack value: {type(error).__name__}") from None
    return data
