"""References in the arguments of a hook: besides those of every node, how that has ended which it observes."""

from __future__ import annotations

from taskmesh.model.flow import Node
from taskmesh.model.problems import Path
from taskmesh.model.references import Compiler, Template, compile_value
from taskmesh.model.resolving import Resolver, follow, steps_of
from taskmesh.model.values import Value, Values

ENDED = "ended"
"""How such a reference begins: ``${ended.status}``."""

FACTS = ("status", "node", "error")
"""How the node, or the run, has ended; the node, or the one that failed first; and why, with type and message."""

OF_HOOK = "ended:"
"""As a name of outputs, which no node can have: the facts."""


def compile_arguments(node: Node) -> Template:
    """The compiled ``args`` of a node; those of a hook are resolved with its facts as the output OF_HOOK.

    :raises FlowError: as of ``compile_value``.
    """
    return compile_value(node.args, compiler_for(node))


def compiler_for(node: Node) -> Compiler:
    """What knows the references that the arguments of a node may hold."""
    return HookCompiler() if node.hook else Compiler()


class HookCompiler(Compiler):
    """Compiles the arguments of a hook, which knows the facts, too."""

    forms = (
        f"write {', '.join(f'${{{ENDED}.{fact}}}' for fact in FACTS)}, ${{params.NAME}}, ${{nodes.NAME.output}} "
        "or ${run.metadata.KEY}, and $${ where ${ is meant literally"
    )

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        if parts[0] == ENDED and (parts[1:2] == [] or parts[1] in FACTS) and all(parts):
            return _fact(parts[1:])
        return super().resolver_of(parts, path)


def _fact(keys: list[str]) -> Resolver:
    steps = steps_of(keys)

    def resolve(params: Values, outputs: Values) -> Value:
        found: Value = follow(outputs[OF_HOOK], steps, (ENDED,))
        return found

    return resolve
