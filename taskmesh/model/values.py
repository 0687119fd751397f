"""What a parameter, an argument or an output may be: plain data that every language can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "bool | int | float | str | bytes | Sequence[Value] | Mapping[str, Value] | None"
Values: TypeAlias = "Mapping[str, Value]"
