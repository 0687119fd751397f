"""References in values: ``${params.NAME.key}``, ``${nodes.NAME.output.key.0}``, ``${run.metadata.KEY}``, ``${params}``.

A string that is one reference and nothing else stands for the referred value, whatever its type. Inside a longer
string a reference becomes text: a string as it is, null, booleans and containers as JSON. Of dollars right before
a ``{``, each pair stands for one dollar: ``$${`` is a literal ``${``. Dollars anywhere else, and the keys of
mappings, are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from taskmesh.errors import FlowError
from taskmesh.model.problems import Path, Problem
from taskmesh.model.resolving import Resolver, all_params, filled, joined, output_resolver, param_resolver
from taskmesh.model.run_context import problem_of, read_of_run
from taskmesh.model.values import Value, Values

MAX_DEPTH = 64
"""Containers inside containers; far more than data needs, far less than the interpreter's stack."""

NAME_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]{0,127}"

_Compiled: TypeAlias = "tuple[Any, Resolver | None]"

# The look-behind keeps a long run of dollars from being scanned again from each of them.
_OPENING = re.compile(r"(?<!\$)(\$+)\{")
_BODY = re.compile(r"([^{}]*)\}")
_NAME = re.compile(NAME_PATTERN)
_FORMS = "write ${params.NAME}, ${nodes.NAME.output} or ${run.metadata.KEY}, and $${ where ${ is meant literally"
_TOO_DEEP = f"the value is nested deeper than {MAX_DEPTH} levels"


class _TooDeepError(Exception):
    """Ends the compilation of a value."""


@dataclass(frozen=True, slots=True)
class Template:
    """A value whose references are known: to ``nodes`` and ``params``, in order, and maybe to the run's context.

    ``takes_params``: to all parameters as one mapping, too.
    """

    constant: Value
    nodes: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    reads_run: bool = False
    takes_params: bool = False
    resolver: Resolver | None = field(default=None, repr=False, compare=False)

    def resolve(self, params: Values, outputs: Values) -> Value:
        """The value with every reference replaced. ``outputs`` maps node names to outputs, RUN_VALUES to the context.

        :raises UnresolvedReferenceError: when a reference points at something that is not there.
        """
        return self.constant if self.resolver is None else self.resolver(params, outputs)


def compile_value(value: Value, compiler: Compiler | None = None) -> Template:
    """Read the references of a value once, so that resolving them is fast.

    ``compiler``, where given, knows what may be referred to; it is used up.

    :raises FlowError: for text that is no reference, keys that are not text, and nesting deeper than MAX_DEPTH.
    """
    reading = read_template(value, (), compiler)
    if reading.problems:
        raise FlowError([str(problem) for problem in reading.problems])
    return reading.template


@dataclass(frozen=True, slots=True)
class TemplateReading:
    """A template, what is wrong with it, and for each name it refers to the place of the first reference."""

    template: Template
    problems: Sequence[Problem]
    nodes: Mapping[str, Path]
    params: Mapping[str, Path]


def read_template(value: Value, path: Path, compiler: Compiler | None = None) -> TemplateReading:
    """``compile_value`` for those that gather problems; ``path`` is where the value stands."""
    compiler = compiler or Compiler()
    try:
        constant, resolver = compiler.compile(value, path, MAX_DEPTH)
    except _TooDeepError:
        return TemplateReading(Template(None), [Problem(path, _TOO_DEEP)], {}, {})
    named = tuple(compiler.nodes), tuple(compiler.params)
    template = Template(constant, *named, compiler.reads_run, compiler.takes_params, resolver)
    return TemplateReading(template, compiler.problems, compiler.nodes, compiler.params)


def escape(value: Value) -> Value:
    """The value in which every string stands for itself when it is compiled.

    :raises FlowError: for nesting deeper than MAX_DEPTH.
    """
    return _escaped(value, MAX_DEPTH)


def _escaped(value: Value, depth: int) -> Value:
    if isinstance(value, str):
        return escape_text(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        raise FlowError([_TOO_DEEP])
    if isinstance(value, Mapping):
        return {key: _escaped(item, depth - 1) for key, item in value.items()}
    return [_escaped(item, depth - 1) for item in value]


def escape_text(text: str) -> str:
    return _OPENING.sub(r"\1\1{", text) if "${" in text else text


class Compiler:
    """Compiles one value; gathers the names it refers to and the problems. ``forms`` says what a reference may be."""

    forms = _FORMS

    def __init__(self) -> None:
        self.nodes: dict[str, Path] = {}
        self.params: dict[str, Path] = {}
        self.reads_run = False
        self.takes_params = False
        self.problems: list[Problem] = []

    def compile(self, value: Any, path: Path, depth: int) -> _Compiled:
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else (value, None)
        if isinstance(value, Mapping):
            self._check_keys(value, path)
            return self._container(dict(value), value.items(), path, depth)
        if isinstance(value, list | tuple):
            return self._container(list(value), enumerate(value), path, depth)
        return value, None

    def _check_keys(self, mapping: Mapping[Any, Any], path: Path) -> None:
        for key in mapping:
            if not isinstance(key, str):
                self.problems.append(Problem(path, f"the key {key!r} is not text; only text can be a key"))

    def _container(self, base: Any, items: Any, path: Path, depth: int) -> _Compiled:
        if depth == 0:
            # Ends the whole value at once: one that holds itself twice has 2**MAX_DEPTH more places as deep as this.
            raise _TooDeepError
        changing: list[tuple[Any, Resolver]] = []
        for key, item in items:
            constant, resolver = self.compile(item, (*path, key), depth - 1)
            base[key] = constant
            if resolver is not None:
                changing.append((key, resolver))
        return base, filled(base, changing) if changing else None

    def _text(self, text: str, path: Path) -> _Compiled:
        pieces = [piece for piece in self._pieces(text, path) if piece != ""]
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            return None, pieces[0]
        if all(isinstance(piece, str) for piece in pieces):
            return "".join(map(str, pieces)), None
        return None, joined(text, pieces)

    def _pieces(self, text: str, path: Path) -> Iterator[str | Resolver]:
        position = 0
        for opening in _OPENING.finditer(text):
            literal = text[position : opening.start()] + "$" * (len(opening[1]) // 2)
            position = opening.end()
            if len(opening[1]) % 2 == 0:
                yield literal + "{"
                continue
            yield literal
            body = _BODY.match(text, position)
            position = body.end() if body else position
            yield self._reference(body[1] if body else None, path)
        yield text[position:]

    def _reference(self, body: str | None, path: Path) -> str | Resolver:
        if body is None:
            self.problems.append(Problem(path, f"a reference that begins with ${{ has no closing }}; {self.forms}"))
            return ""
        if resolver := self.resolver_of(parts := body.split("."), path):
            return resolver
        self.problems.append(Problem(path, f"'${{{body}}}' is not a reference; {problem_of(parts) or self.forms}"))
        return ""

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        """What a reference with these parts stands for; None where it is none."""
        match parts:
            case ["params"]:
                self.takes_params = True
                return all_params
            case ["params", name, *keys] if _NAME.fullmatch(name) and all(keys):
                self.params.setdefault(name, path)
                return param_resolver(name, keys)
            case ["nodes", name, "output", *keys] if _NAME.fullmatch(name) and all(keys):
                self.nodes.setdefault(name, path)
                return output_resolver(name, keys, ("nodes", name, "output"))
            case ["run", *keys] if not problem_of(parts):
                self.reads_run = True
                return lambda params, outputs: read_of_run(outputs, keys)
        return None
