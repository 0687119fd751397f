"""References in the parameters of a schedule: ``${schedule.time}`` and ``${schedule.id}``, and nothing else."""

from __future__ import annotations

from taskmesh.model.problems import Path
from taskmesh.model.references import Compiler, Template, compile_value
from taskmesh.model.resolving import Resolver
from taskmesh.model.values import Value, Values

NAMES = ("time", "id")


def compile_tick_value(value: Value) -> Template:
    """Read the references of a value; it is resolved with the values of NAMES as params.

    :raises FlowError: as of ``compile_value``.
    """
    return compile_value(value, _TickCompiler())


class _TickCompiler(Compiler):
    """Compiles a value of a schedule, which knows its tick and nothing else."""

    forms = "write ${schedule.time} or ${schedule.id}, and $${ where ${ is meant literally"

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        if len(parts) == 2 and parts[0] == "schedule" and parts[1] in NAMES:
            return _named(parts[1])
        return None


def _named(name: str) -> Resolver:
    def resolve(params: Values, outputs: Values) -> Value:
        return params[name]

    return resolve
