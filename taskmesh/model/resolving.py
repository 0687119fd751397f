"""What a reference stands for, once the parameters and the outputs of a run are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from taskmesh.errors import UnresolvedReferenceError
from taskmesh.model.values import Value, Values

Resolver: TypeAlias = "Callable[[Values, Values], Value]"
"""From parameters and outputs, each by name, to the value."""

_INDEX = re.compile(r"-?[0-9]{1,18}")
_SHOWN_KEYS = 10


def all_params(params: Values, outputs: Values) -> Value:
    return params


def param_resolver(name: str, keys: list[str]) -> Resolver:
    steps = steps_of(keys)

    def resolve(params: Values, outputs: Values) -> Value:
        if name not in params:
            raise UnresolvedReferenceError(_shown("params", name, *keys), f"the run has no parameter {name!r}")
        return follow(params[name], steps, ("params", name)) if steps else params[name]

    return resolve


def output_resolver(name: str, keys: list[str], root: tuple[str, ...]) -> Resolver:
    """Stands for a part of one of the outputs; ``root`` is what the reference to the whole consists of."""
    steps = steps_of(keys)

    def resolve(params: Values, outputs: Values) -> Value:
        if name not in outputs:
            raise UnresolvedReferenceError(_shown(*root, *keys), f"node {name!r} has no output")
        return follow(outputs[name], steps, root) if steps else outputs[name]

    return resolve


_Step: TypeAlias = "tuple[str, int | None]"


def steps_of(keys: list[str]) -> tuple[_Step, ...]:
    return tuple((key, int(key) if _INDEX.fullmatch(key) else None) for key in keys)


def follow(value: Any, steps: tuple[_Step, ...], root: tuple[str, ...]) -> Any:
    """The part of a value to which steps lead; ``root`` is how the whole of it is called.

    :raises UnresolvedReferenceError: it has no such part.
    """
    for place, (key, index) in enumerate(steps):
        try:
            # A text is a sequence too, but one of its letters is never what was meant.
            value = value[index] if isinstance(value, list | tuple) and index is not None else _member(value, key)
        except LookupError:
            whole = _shown(*root, *(step[0] for step in steps))
            above = _shown(*root, *(step[0] for step in steps[:place]))
            raise UnresolvedReferenceError(whole, f"{above} is {_described(value)}") from None
    return value


def _member(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return value[key]
    raise LookupError(key)


def _shown(*parts: str) -> str:
    return "${" + ".".join(parts) + "}"


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = [repr(key) for _, key in zip(range(_SHOWN_KEYS), value, strict=False)]
        more = f" and {len(value) - len(shown)} more" if len(value) > len(shown) else ""
        return f"an object with the keys {', '.join(shown)}{more}" if shown else "an empty object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    return f"{_PLAIN.get(type(value), f'a {type(value).__name__}')}, which has nothing inside"


_PLAIN = {bool: "a boolean", int: "an integer", float: "a number", str: "a text", bytes: "bytes"}


def filled(base: Any, changing: list[tuple[Any, Resolver]]) -> Resolver:
    def resolve(params: Values, outputs: Values) -> Any:
        value = base.copy()
        for key, resolver in changing:
            value[key] = resolver(params, outputs)
        return value

    return resolve


def joined(text: str, pieces: list[str | Resolver]) -> Resolver:
    def resolve(params: Values, outputs: Values) -> Value:
        return "".join(piece if isinstance(piece, str) else _as_text(piece(params, outputs), text) for piece in pieces)

    return resolve


def _as_text(value: Any, text: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain_text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnresolvedReferenceError(f"the text {text[:80]!r}", f"a value has no form as text: {error}") from None


def _plain_text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | set | frozenset):
        raise TypeError(f"it holds {type(value).__name__}")
    return str(value)
