"""Arguments that are made of values which were put aside: resolved where the task runs, not where its node is claimed.

The I/O process sends what the arguments are made of as it is stored, and neither fetches nor holds what is large. What
is given to a child run is resolved beside its loop, and only what cannot be handed on as it is (``Arguments``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from taskmesh.errors import PayloadError, WireError
from taskmesh.model.flow import UNDO_RESULT
from taskmesh.model.hook_references import OF_HOOK, HookCompiler
from taskmesh.model.mapping import GIVEN, compile_item_value, given_by, item_values
from taskmesh.model.references import Template, compile_value
from taskmesh.model.run_context import RUN_VALUES, RunContext
from taskmesh.model.values import Value, Values
from taskmesh.wire.claim_checks import (
    ClaimCheck,
    Params,
    pack_check,
    pack_deferred,
    read_check,
    read_deferred,
    read_params,
)
from taskmesh.wire.codec import PutAsideError

_NODE, _HOOK, _ITEM, _UNDO = "node", "hook", "item", "undo"


def defer(args: Value, params: bytes | None, outputs: Mapping[str, bytes | None], context: RunContext) -> bytes:
    """The arguments of a node: its ``args``, and what they refer to, as it is stored."""
    return pack_deferred([_NODE, args, params, outputs, context.values()])


def defer_hook(
    args: Value, params: bytes | None, outputs: Mapping[str, bytes | None], context: RunContext, facts: Values
) -> bytes:
    """Those of a hook: besides, the facts of what it observes."""
    return pack_deferred([_HOOK, args, params, outputs, context.values(), facts])


def defer_item(args: Value, params: bytes, item: Any, index: int) -> bytes:
    """Those of one copy of a node: its ``args``, the parameters of the run of the copies, and its item."""
    return pack_deferred([_ITEM, args, params, item, index])


def defer_undo(arguments: bytes, output: bytes | None) -> bytes:
    """The arguments of an undo: those of its node, which may be deferred themselves, and its output."""
    return pack_deferred([_UNDO, arguments, output])


def resolved(packed: bytes, value_of: Callable[[bytes], Any]) -> dict[str, Any]:
    """The arguments of a task; ``value_of`` gives the value of something stored, wherever it is.

    :raises UnresolvedReferenceError: an output does not have what a reference names.
    :raises PayloadError: a value that was put aside is not there.
    """
    fields = read_deferred(packed)
    if fields is None:
        return whole_params(read_params(packed), value_of)
    if fields[0] == _UNDO:
        _, inner, output = fields
        return {**resolved(inner, value_of), UNDO_RESULT: _value("the output of it", output, value_of)}
    return cast("dict[str, Any]", _resolved(fields, fields[1], value_of))


class Arguments:
    """The arguments of a node that runs no task; ``value_of`` is called for what is read, and errors are as of
    ``resolved``."""

    def __init__(self, packed: bytes, value_of: Callable[[bytes], Any]) -> None:
        self._value_of = value_of
        self._fields = read_deferred(packed)
        self._params = read_params(packed) if self._fields is None else Params({})

    def one(self, name: str) -> Any:
        """The argument of this name; None where there is none."""
        if self._fields is None:
            return self._params.here.get(name)
        return _resolved(self._fields, self._fields[1].get(name), self._value_of)

    def handed_on(self, within: str = "") -> Params:
        """All of them, to be the parameters of a run; of a mapped node, those ``within`` one of them.

        One that is nothing but a reference to a value that was put aside stays there: ``aside`` has it then.
        """
        if self._fields is None:
            return Params(self._params.here.get(within, {})) if within else self._params
        args = self._fields[1].get(within, {}) if within else self._fields[1]
        wholes = _wholes(self._fields)
        aside = {name: wholes[value] for name, value in args.items() if isinstance(value, str) and value in wholes}
        rest = {name: value for name, value in args.items() if name not in aside}
        return Params(cast("dict[str, Any]", _resolved(self._fields, rest, self._value_of)), aside)


def whole_params(params: Params, value_of: Callable[[bytes], Any]) -> dict[str, Any]:
    """All parameters of a run, wherever they are; errors as of ``resolved``."""
    return _with(params, params.aside, value_of)


def used_params(params: Params, template: Template, value_of: Callable[[bytes], Any]) -> dict[str, Any]:
    """The parameters that a template needs, and those that are here; errors as of ``resolved``."""
    return _with(params, params.aside if template.takes_params else template.params, value_of)


def _with(params: Params, names: Iterable[str], value_of: Callable[[bytes], Any]) -> dict[str, Any]:
    aside = [name for name in names if name in params.aside]
    fetched = {name: _value(f"parameter {name!r}", pack_check(params.aside[name]), value_of) for name in aside}
    return {**params.here, **fetched}


def _resolved(fields: list[Any], args: Value, value_of: Callable[[bytes], Any]) -> Value:
    """Some of the arguments of a node, or of a copy or a hook."""
    if fields[0] == _ITEM:
        return _of_item(fields, args, value_of)
    kind, _, params, outputs, said, *facts = fields
    template = compile_value(args, HookCompiler() if kind == _HOOK else None)
    values = {name: _value(f"the output of node {name!r}", outputs[name], value_of) for name in template.nodes}
    values[RUN_VALUES] = said
    if kind == _HOOK:
        [values[OF_HOOK]] = facts
    return template.resolve(used_params(read_params(params), template, value_of), values)


def _of_item(fields: list[Any], args: Value, value_of: Callable[[bytes], Any]) -> Value:
    _, _, params, item, index = fields
    here, aside = read_params(params)
    given = _with(Params(here.get(GIVEN, {}), aside), given_by(args), value_of)
    return compile_item_value(args).resolve(given, item_values(item, index))


def _wholes(fields: list[Any]) -> dict[str, ClaimCheck]:
    """What the references to whole values stand for that were put aside."""
    kind, _, params, outputs, *_ = fields
    aside = read_params(params).aside
    if kind == _ITEM:
        return {f"${{{text}}}": check for text, check in aside.items()}
    checks = {f"${{nodes.{name}.output}}": read_check(output) for name, output in outputs.items() if output}
    checks |= {f"${{params.{name}}}": check for name, check in aside.items()}
    return {text: check for text, check in checks.items() if check is not None}


def _value(what: str, stored: bytes | None, value_of: Callable[[bytes], Any]) -> Any:
    try:
        return None if stored is None else value_of(stored)
    except PutAsideError as error:
        raise PutAsideError(f"{what}: {error}") from None
    except (PayloadError, WireError) as error:
        raise PayloadError(f"{what}: {error}") from None
