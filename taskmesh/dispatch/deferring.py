"""Arguments that are made of outputs which were put aside: resolved where the task runs, not where its node is claimed.

The I/O process neither fetches what is large nor holds it; it sends what the arguments are made of, as it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from taskmesh.errors import PayloadError, WireError
from taskmesh.model.flow import UNDO_RESULT
from taskmesh.model.hook_references import OF_HOOK, HookCompiler
from taskmesh.model.references import compile_value
from taskmesh.model.run_context import RUN_VALUES, RunContext
from taskmesh.model.values import Value, Values
from taskmesh.wire import unpack
from taskmesh.wire.claim_checks import pack_deferred, read_check, read_deferred
from taskmesh.wire.codec import PutAsideError

_NODE, _HOOK, _UNDO = "node", "hook", "undo"


def defer(args: Value, params: Values, outputs: Mapping[str, bytes | None], context: RunContext) -> bytes:
    """The arguments of a node: its ``args``, and what they refer to."""
    return pack_deferred([_NODE, args, params, outputs, context.values()])


def defer_hook(
    args: Value, params: Values, outputs: Mapping[str, bytes | None], context: RunContext, facts: Values
) -> bytes:
    """Those of a hook: besides, the facts of what it observes."""
    return pack_deferred([_HOOK, args, params, outputs, context.values(), facts])


def defer_undo(arguments: bytes, output: bytes | None) -> bytes:
    """The arguments of an undo: those of its node, which may be deferred themselves, and its output."""
    return pack_deferred([_UNDO, arguments, output])


def resolved_here(packed: bytes) -> dict[str, Any]:
    """The arguments of a node that runs no task.

    :raises PutAsideError: an output of them was put aside.
    """
    fields = read_deferred(packed)
    if fields is not None:
        outputs = fields[3]
        raise PutAsideError(for_tasks_alone(next(name for name, each in outputs.items() if each and read_check(each))))
    arguments: dict[str, Any] = unpack(packed)
    return arguments


def value_here(name: str, output: bytes | None) -> Any:
    """What the node ``name`` gave, where no task is given it; None where it has no output.

    :raises PutAsideError: it was put aside. :raises WireError: it cannot be read.
    """
    try:
        return None if output is None else unpack(output)
    except PutAsideError:
        raise PutAsideError(for_tasks_alone(name)) from None


def for_tasks_alone(name: str) -> str:
    """Why nothing but a task can be given what the node ``name`` gave."""
    return (
        f"the output of node {name!r} was put aside, since it is large (payload.claim_check_bytes), and only tasks are "
        "given such outputs; let it return what is small, or where the rest is"
    )


def resolved(packed: bytes, value_of: Callable[[bytes], Any]) -> dict[str, Any]:
    """The arguments of a task; ``value_of`` gives the value of a stored output, wherever it is.

    :raises UnresolvedReferenceError: an output does not have what a reference names.
    :raises PayloadError: an output that was put aside is not there.
    """
    fields = read_deferred(packed)
    if fields is None:
        arguments: dict[str, Any] = unpack(packed)
        return arguments
    if fields[0] == _UNDO:
        _, inner, output = fields
        return {**resolved(inner, value_of), UNDO_RESULT: _value("it", output, value_of)}
    kind, args, params, outputs, said, *facts = fields
    values = {name: _value(f"node {name!r}", output, value_of) for name, output in outputs.items()}
    values[RUN_VALUES] = said
    if kind == _HOOK:
        [values[OF_HOOK]] = facts
    template = compile_value(args, HookCompiler() if kind == _HOOK else None)
    return cast("dict[str, Any]", template.resolve(params, values))


def _value(name: str, output: bytes | None, value_of: Callable[[bytes], Any]) -> Any:
    try:
        return None if output is None else value_of(output)
    except (PayloadError, WireError) as error:
        raise PayloadError(f"the output of {name}: {error}") from None
