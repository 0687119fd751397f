"""Integers beyond 64 bits, which msgpack itself does not know."""

from __future__ import annotations

import pytest

from taskmesh.errors import WireError
from taskmesh.wire import pack, unpack
from taskmesh.wire.codec import MAX_INTEGER_DIGITS


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**200])
def test_they_come_back(value: int) -> None:
    for whole in (value, [value, {"a": value}], {value, 1}, {value: "key"}):
        assert unpack(pack(whole)) == whole


def test_one_that_would_take_long_to_read_is_refused() -> None:
    longest = 10**MAX_INTEGER_DIGITS - 1
    assert unpack(pack(longest)) == longest
    for whole in (longest + 1, {"a": [-longest - 1]}):
        with pytest.raises(WireError, match=f"an integer of more than {MAX_INTEGER_DIGITS} digits"):
            pack(whole)
