"""From what a file, a variable or a caller says to the value of a setting, checked."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from taskmesh.config.keys import Key
from taskmesh.redaction import MASK, redact, redact_url

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

HOST = re.compile(r"((\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class InvalidValueError(ValueError):
    """A setting cannot have this value; the text says what it must be."""


def parse(key: Key, raw: Any, *, is_text: bool) -> Any:
    """The value of ``key``.

    :param is_text: the value comes from an environment variable, so numbers and lists are written out.
    :raises InvalidValueError: the value is of another type or out of range.
    """
    value = _from_text(key, raw.strip()) if is_text else raw
    value = _CONVERT[key.kind](value)
    for part in value if isinstance(value, tuple) else (value,):
        _check(key, part)
    return value


def shown(key: Key, value: Any) -> str:
    """The value for people, without secrets."""
    if "named_schemes" in key.rules:
        return redact(repr(value))
    if not key.is_url or not isinstance(value, str):
        return repr(value)
    return redact_url(value) if "://" in value else MASK


def _from_text(key: Key, text: str) -> Any:
    if key.kind.startswith("tuple"):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [_number(part, int) for part in parts] if "int" in key.kind else parts
    if key.kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    if key.kind == "int":
        return _number(text, int)
    return _number(text, float) if key.kind == "float" else text


def _number(text: str, make: Callable[[str], float]) -> Any:
    try:
        return make(text)
    except ValueError:
        # Left as text: the conversion that follows says what it must be.
        return text


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValueError("must be a whole number")
    return value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidValueError("must be a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidValueError("must be text, and not empty")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidValueError("must be true or false")
    return value


def _url(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidValueError("must be a URL")
    return value or None


def _optional_text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidValueError("must be text")
    return value or None


def _whole_list(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidValueError("must be a list of whole numbers")
    return tuple(_whole(part) for part in value)


def _text_list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidValueError("must be a list of names")
    return tuple(_text(part) for part in value)


_CONVERT: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "int": _whole,
        "float": _real,
        "bool": _truth,
        "str": _text,
        "str | None": _url,
        "OptionalText": _optional_text,
        "tuple[int, ...]": _whole_list,
        "tuple[str, ...]": _text_list,
    }
)


def _check(key: Key, value: Any) -> None:
    rules = key.rules
    if "minimum" in rules and not rules["minimum"] <= value <= rules["maximum"]:
        raise InvalidValueError(f"must be between {rules['minimum']} and {rules['maximum']}")
    if "choices" in rules and value not in rules["choices"]:
        raise InvalidValueError(f"must be one of {', '.join(rules['choices'])}")
    if "name" in rules and not NAME.fullmatch(value):
        raise InvalidValueError("must be 1 to 64 letters, digits, '_' or '-', and begin with a letter or digit")
    if "schemes" in rules and value is not None:
        _check_url(value, rules["schemes"])
    if "named_schemes" in rules:
        _check_named_url(value, rules["named_schemes"])
    for rule, check in _TEXT_RULES.items():
        if rule in rules:
            check(value)


def _check_named_url(text: str, schemes: tuple[str, ...]) -> None:
    name, separator, url = text.partition("=")
    if not separator or not NAME.fullmatch(name):
        raise InvalidValueError("must be written NAME=URL, with a name of letters, digits, '_' or '-'")
    _check_url(url, schemes)


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise InvalidValueError(f"{text!r} must be a network or an address, as 10.0.0.0/8 or 192.0.2.7") from None


def _check_host(text: str) -> None:
    if not HOST.fullmatch(text):
        raise InvalidValueError(f"{text!r} must be a host, as api.example.com, *.example.com or host:8443")


def _check_program(text: str) -> None:
    if text != "*" and not text.startswith("/"):
        raise InvalidValueError(f"{text!r} must be the full path of a program, as /usr/bin/convert, or *")


_TEXT_RULES: Mapping[str, Callable[[str], None]] = MappingProxyType(
    {"networks": _check_network, "hosts": _check_host, "programs": _check_program}
)


def _check_url(url: str, schemes: tuple[str, ...]) -> None:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        known = ", ".join(f"{name}://" for name in schemes)
        raise InvalidValueError(f"must be a URL that begins with one of {known}")
    if not rest.strip("/"):
        raise InvalidValueError(f"names no server after {scheme}://")
