"""Makes tasks of node types, and refuses those that are none: a type is taken as a whole or not at all."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.model.node_types import TYPE_RULE, is_type_name
from taskmesh.plugins.config_schema import ConfigSchema
from taskmesh.plugins.interface import INTERFACE_VERSION
from taskmesh.plugins.node_task import NodeTypeTask

_METHODS = ("validate", "execute")


class PluginState(StrEnum):
    """What became of a node type here."""

    ON = "on"  # its nodes can be executed
    OFF = "off"  # the settings do not allow its nodes; their config is checked
    REFUSED = "refused"  # it cannot be used


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node type before it is looked at. ``make`` gives the object, or its class; importing it may fail in any way.

    ``off`` says why its nodes may not be executed here; empty where they may.
    """

    name: str
    origin: str
    make: Callable[[], Any]
    off: str = ""
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class Plugin:
    """A node type as it was found here. ``task`` is None for one that is refused; ``reason`` says why it is not on."""

    name: str
    origin: str
    state: PluginState
    reason: str = ""
    task: NodeTypeTask | None = None
    schema: Any = None


def load_plugins(candidates: Iterable[Candidate], off: Iterable[str]) -> tuple[Plugin, ...]:
    """What becomes of each candidate; of several with one name the first has it. Those in ``off`` are not imported."""
    return tuple(_loaded(candidates, frozenset(off)))


def _loaded(candidates: Iterable[Candidate], off: frozenset[str]) -> Iterator[Plugin]:
    owners: dict[str, str] = {}
    for each in candidates:
        owner = owners.get(each.name)
        owners.setdefault(each.name, each.origin)
        if each.name in off:
            yield Plugin(each.name, each.origin, PluginState.OFF, "plugins.off names it")
        elif owner is not None:
            yield Plugin(each.name, each.origin, PluginState.REFUSED, f"the name is taken by {owner}")
        else:
            yield _taken(each)


def _taken(candidate: Candidate) -> Plugin:
    try:
        made = candidate.make()
        found: Any = made() if inspect.isclass(made) else made
        fault = "" if candidate.is_own else _fault(candidate.name, found)
        if fault:
            return Plugin(candidate.name, candidate.origin, PluginState.REFUSED, fault)
        task = NodeTypeTask(found, ConfigSchema(found.schema))
    except (Exception, SystemExit) as error:
        return Plugin(candidate.name, candidate.origin, PluginState.REFUSED, _sentence(error))
    state = PluginState.OFF if candidate.off else PluginState.ON
    return Plugin(candidate.name, candidate.origin, state, candidate.off, task, found.schema)


def _fault(name: str, found: Any) -> str:
    """What keeps an object from being a node type; empty where nothing does."""
    interface = _read(found, "interface")
    if interface != INTERFACE_VERSION:
        return f"it is written for interface version {interface!r}; this taskmesh has version {INTERFACE_VERSION}"
    if not is_type_name(name):
        return f"the name {name!r} is not allowed: {TYPE_RULE}"
    if _read(found, "name") != name:
        return f"it calls itself {found.name!r}, but was declared as {name!r}"
    for method in _METHODS:
        function = getattr(found, method, None)
        if not callable(function):
            return f"it has no method {method}()"
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return f"its method {method}() must be a plain function, not async"
    return ConfigSchema(_read(found, "schema")).fault()


def _read(found: Any, attribute: str) -> Any:
    if not hasattr(found, attribute):
        raise UsageError(f"it has no {attribute!r}; a node type has name, interface, schema, validate() and execute()")
    return getattr(found, attribute)


def _sentence(error: BaseException) -> str:
    if isinstance(error, UsageError):
        return str(error)
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    where = f" ({places[-1].filename}:{places[-1].lineno})" if len(places) > 1 else ""
    return f"it cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}{where}"
