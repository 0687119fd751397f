"""Where settings come from: the caller, the environment, one file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from taskmesh.config.keys import ENV_PREFIX, KEYS, nearest
from taskmesh.errors import ConfigError

CONFIG_VARIABLE = "TASKMESH_CONFIG"
CONFIG_FILE = "taskmesh.toml"
PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = ("tool", "taskmesh")

ENV_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "TASKMESH_BROKER_URL": "broker.url",
        "TASKMESH_STORE_URL": "store.url",
        **{key.env_name: key.name for key in KEYS.values()},
    }
)
"""The environment variables that are settings; the later of two names for one key wins."""

FALLBACKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"broker.url": ("AMQP_URL", "CLOUDAMQP_URL"), "store.url": ("REDIS_URL",)}
)
"""Variables that hosting platforms set. Others use them too, so they only complete a pair of servers."""

# Kubernetes puts variables into every pod for each service, and a service may well be called taskmesh-something.
# The other names belong to the project's own test run.
_NOT_OURS = re.compile(r"TASKMESH_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_.+)?)|TASKMESH_TEST_.*")


@dataclass(frozen=True, slots=True)
class Given:
    """One value that somebody gave. ``problem`` says why it is none."""

    key: str
    value: Any = None
    origin: str = ""
    is_text: bool = False
    problem: str = ""


def from_overrides(overrides: Mapping[str, Any], origin: str = "given by the program") -> Iterator[Given]:
    """What the caller says, nested or with dotted keys; None means: nothing said."""
    for name, value in _flatten(overrides):
        if value is not None:
            yield _given(name, value, origin)


def from_texts(texts: Mapping[str, str], origin: str) -> Iterator[Given]:
    """What is written out, as in the environment, for each dotted key."""
    for name, text in texts.items():
        yield replace(_given(name, text, origin), is_text=True)


def from_environ(environ: Mapping[str, str]) -> Iterator[Given]:
    """What ``TASKMESH_`` variables say; an empty one says nothing."""
    for variable, key in ENV_KEYS.items():
        if environ.get(variable):
            yield Given(key, environ[variable], variable, is_text=True)
    for variable in sorted(environ):
        if variable.startswith(ENV_PREFIX) and not _is_known(variable):
            yield Given(variable, problem=f"{variable}: no such setting{nearest(variable, list(ENV_KEYS))}")


def from_fallbacks(environ: Mapping[str, str], said: Mapping[str, str | None]) -> Iterator[Given]:
    """The servers that the platform's variables name, where that makes a whole pair of broker and store.

    :param said: what stronger sources said about the URLs; None for an explicit "embedded".
    """
    found = {key: next((name for name in names if environ.get(name)), None) for key, names in FALLBACKS.items()}
    if all(said.get(key, found[key]) for key in found):
        for key, variable in found.items():
            if variable and key not in said:
                yield Given(key, environ[variable], variable, is_text=True)


def from_file(environ: Mapping[str, str], directory: Path) -> Iterator[Given]:
    """What the configuration file says.

    :raises ConfigError: ``TASKMESH_CONFIG`` names no file, or the file is not TOML.
    """
    named = environ.get(CONFIG_VARIABLE)
    if named:
        yield from _read(directory / named, named, table=(), mend=f"; {CONFIG_VARIABLE} must name a file")
    elif (directory / CONFIG_FILE).is_file():
        yield from _read(directory / CONFIG_FILE, CONFIG_FILE, table=())
    elif (directory / PROJECT_FILE).is_file():
        yield from _read(directory / PROJECT_FILE, PROJECT_FILE, table=PROJECT_TABLE)


def from_named_file(path: Path) -> Iterator[Given]:
    """What a file says, also a ``pyproject.toml`` in its table; errors as of ``from_file``."""
    return _read(path, str(path), table=PROJECT_TABLE if path.name == PROJECT_FILE else ())


def _read(path: Path, shown: str, table: tuple[str, ...], mend: str = "") -> Iterator[Given]:
    content = _parse(path, shown, mend)
    for part in table:
        content = content.get(part, {})
    for name, value in _flatten(content):
        yield _given(name, value, shown)


def _parse(path: Path, shown: str, mend: str) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read ({error.strerror}){mend}") from None
    except ValueError as error:
        raise ConfigError(f"{shown}: is not TOML: {error}") from None


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _given(name: str, value: Any, origin: str) -> Given:
    if name in KEYS:
        return Given(name, value, origin)
    within = [key for key in KEYS if key.startswith(f"{name}.")]
    if within:
        return Given(name, problem=f"{name} ({origin}): is a section; say which of its settings, as {within[0]}")
    return Given(name, problem=f"{name} ({origin}): no such setting{nearest(name, list(KEYS))}")


def _is_known(variable: str) -> bool:
    return variable in ENV_KEYS or variable == CONFIG_VARIABLE or _NOT_OURS.fullmatch(variable) is not None
