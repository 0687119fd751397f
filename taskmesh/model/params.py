"""The parameters of a run, held to what its flow declares."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from taskmesh.errors import FlowError
from taskmesh.model.flow import ALL_PARAMS, Flow, Param, ParamType
from taskmesh.model.problems import Hints
from taskmesh.model.values import Value, Values


def check_params(flow: Flow, given: Values, unseen: Collection[str] = ()) -> dict[str, Value]:
    """The parameters of a run, in the order of the flow, with defaults filled in.

    A flow that declares none but hands all of them to a node (``args: ${params}``) takes any. The types of those that
    are ``unseen`` are not looked at: their values are elsewhere.

    :raises FlowError: with one sentence for each parameter that is missing, unknown or of the wrong type.
    """
    accepted: dict[str, Value] = {}
    for param in flow.params:
        value = given.get(param.name, param.default)
        does_fit = param.name in unseen or fits(param, value)
        if not does_fit or (param.required and param.name not in given):
            raise FlowError([f"flow {flow.name!r}: {problem}" for problem in _problems(flow, given, unseen)])
        accepted[param.name] = value
    if given.keys() <= accepted.keys():
        return accepted
    if takes_any_params(flow):
        return dict(given)
    raise FlowError([f"flow {flow.name!r}: {problem}" for problem in _problems(flow, given, unseen)])


def takes_any_params(flow: Flow) -> bool:
    return not flow.params and (flow.copies is not None or any(node.args == ALL_PARAMS for node in flow.nodes))


def fits(param: Param, value: Any) -> bool:
    """Whether a value may be given for a parameter; a parameter whose default is null may be null."""
    return _CHECKS[param.type](value) or (value is None and not param.required and param.default is None)


def literal_problem(param: Param, value: Value) -> str:
    """What is wrong with a value that a flow gives a parameter; nothing where only a run will tell."""
    if (isinstance(value, str) and "${" in value) or fits(param, value):
        return ""
    return f"parameter {param.name!r} {type_sentence(param, value)}"


def type_sentence(param: Param, value: Value) -> str:
    wanted = "an" if param.type[0] in "aeiou" else "a"
    return f"must be {wanted} {param.type}, not {reprlib.repr(value)} ({type_name(value)})"


def type_name(value: Any) -> str:
    """The type of a value in the words of JSON Schema, where it has one."""
    for kind, check in _CHECKS.items():
        if kind is not ParamType.ANY and check(value):
            return str(kind)
    return "null" if value is None else type(value).__name__


def _problems(flow: Flow, given: Values, unseen: Collection[str]) -> Iterator[str]:
    declared = {param.name: param for param in flow.params}
    hints = Hints(declared)
    for name in given:
        if name not in declared:
            yield f"it has no parameter {name!r}{hints.did_you_mean(name)}"
    for param in flow.params:
        if param.name in given:
            if param.name not in unseen and not fits(param, given[param.name]):
                yield f"parameter {param.name!r} {type_sentence(param, given[param.name])}"
        elif param.required:
            yield f"parameter {param.name!r} ({param.type}) is missing"


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_array(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_any(value: Any) -> bool:
    return True


_CHECKS: Mapping[ParamType, Callable[[Any], bool]] = {
    ParamType.STRING: _is_string,
    ParamType.INTEGER: _is_integer,
    ParamType.NUMBER: _is_number,
    ParamType.BOOLEAN: _is_boolean,
    ParamType.ARRAY: _is_array,
    ParamType.OBJECT: _is_object,
    ParamType.ANY: _is_any,
}
