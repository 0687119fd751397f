"""msgpack for every value that leaves a process. No type is ever rebuilt by name; sizes are checked before decoding.

Extension types: 1 UUID (16 bytes), 2 Decimal (text), 3 set (packed array, sorted by its packed items), 4 integer beyond
64 bit (text). 5 to 7 are no values: they stand for one that was put aside, for arguments that are made of such ones, or
for parameters of which some were (``claim_checks``).
Timezone-aware datetimes use msgpack's own timestamp type.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from taskmesh.errors import TooLargeError, WireError

MAX_DECODED_BYTES = 64 * 1024 * 1024
"""No single value that is read back may be larger; what a user may store is limited by settings, far below."""

MAX_INTEGER_DIGITS = 4300
"""Turning text into an integer is quadratic; this is the interpreter's own default limit (CVE-2020-10735)."""

_UUID, _DECIMAL, _SET, _INTEGER = 1, 2, 3, 4
CLAIM_CHECK, DEFERRED, PARTED = 5, 6, 7


class PutAsideError(WireError):
    """A value is asked for where only what stands for it is there."""


def pack(value: Any) -> bytes:
    """Encode plain data.

    :raises WireError: for a type that has no encoding; the sentence names it.
    """
    try:
        return _pack(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(_refusal(error)) from None


def pack_list(packed: Sequence[bytes]) -> bytes:
    """The list of values that are packed already."""
    return bytes(msgpack.Packer().pack_array_header(len(packed))) + b"".join(packed)


def _pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, default=_encode_extension, datetime=True)
    return data


def unpack(data: bytes, limit_bytes: int = MAX_DECODED_BYTES) -> Any:
    """Decode what ``pack`` made.

    :raises TooLargeError: when ``data`` is longer than ``limit_bytes``; nothing is decoded then.
    :raises WireError: when the bytes are not one whole msgpack value.
    """
    if len(data) > limit_bytes:
        raise TooLargeError(f"{len(data)} bytes to decode; at most {limit_bytes} are allowed")
    try:
        return msgpack.unpackb(data, ext_hook=_decode_extension, timestamp=3, strict_map_key=False)
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, decimal.DecimalException) as error:
        raise WireError(f"not a msgpack value: {type(error).__name__}") from None
    except (msgpack.UnpackException, OverflowError) as error:
        raise WireError(f"not a msgpack value: {type(error).__name__}") from None


def _encode_extension(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return msgpack.ExtType(_UUID, value.bytes)
    if isinstance(value, decimal.Decimal):
        return msgpack.ExtType(_DECIMAL, str(value).encode())
    if isinstance(value, set | frozenset):
        return msgpack.ExtType(_SET, _pack([msgpack.unpackb(item) for item in sorted(map(_pack, value))]))
    if isinstance(value, int):
        # Asked for only where it does not fit 64 bits.
        return msgpack.ExtType(_INTEGER, _digits(value))
    if isinstance(value, datetime.datetime):
        raise TypeError("a datetime without a timezone has no encoding; give it one, for example datetime.now(UTC)")
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no encoding; use plain data")


def _digits(value: int) -> bytes:
    try:
        return str(value).encode()
    except ValueError:
        raise WireError(f"an integer of more than {MAX_INTEGER_DIGITS} digits has no encoding") from None


def _decode_extension(code: int, data: bytes) -> Any:
    decoder = _DECODERS.get(code)
    if decoder is None:
        raise WireError(f"unknown extension type {code}")
    return decoder(data)


def _decode_integer(data: bytes) -> int:
    if len(data) > MAX_INTEGER_DIGITS + 1:
        raise TooLargeError(f"an integer of more than {MAX_INTEGER_DIGITS} digits")
    return int(data)


def _decode_set(data: bytes) -> set[Any]:
    return set(unpack(data))


def _decode_uuid(data: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=data)


def _decode_decimal(data: bytes) -> decimal.Decimal:
    return decimal.Decimal(data.decode())


def _refuse_claim_check(_: bytes) -> Any:
    raise PutAsideError("it was put aside, since it is large (payload.claim_check_bytes), and cannot be read here")


_DECODERS: dict[int, Callable[[bytes], Any]] = {
    _UUID: _decode_uuid,
    _DECIMAL: _decode_decimal,
    _SET: _decode_set,
    _INTEGER: _decode_integer,
    CLAIM_CHECK: _refuse_claim_check,
    DEFERRED: _refuse_claim_check,
    PARTED: _refuse_claim_check,
}


def _refusal(error: Exception) -> str:
    if isinstance(error, RecursionError) or "recursion" in str(error):
        return "the value is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return no_utf8(error)
    return str(error)


def no_utf8(error: UnicodeEncodeError) -> str:
    """What is wrong with a text that holds a lone surrogate: as bytes do that were no UTF-8 where a shell gave them."""
    return f"a text is no UTF-8: {error.object!a:.100} holds {error.object[error.start]!a}, which is no character"
