"""Stored outputs as people see them: with those that were put aside, or with why there is nothing to see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from taskmesh.errors import PayloadError, PayloadUnavailableError, TooLargeError
from taskmesh.wire import unpack
from taskmesh.wire.claim_checks import read_check

ValueOf: TypeAlias = "Callable[[bytes], Any]"
"""Gives the value of a stored output, wherever it is."""


class Output(NamedTuple):
    """The value of an output, or why it is ``missing``."""

    value: Any = None
    missing: str = ""


def value_in_store(output: bytes) -> Any:
    """:raises PayloadError: the output was put aside."""
    if check := read_check(output):
        raise PayloadError(f"it was put aside: {check.size} bytes")
    return unpack(output)


def output_of(packed: bytes | None, value_of: ValueOf) -> Output:
    """What is seen of a stored output; None is seen where there is none."""
    try:
        return Output() if packed is None else Output(value_of(packed))
    except (PayloadError, PayloadUnavailableError, TooLargeError) as error:
        return Output(missing=str(error))
