"""Mapped nodes: one task for each item of a list that only a run will have.

When such a node begins, its items become a run of their own: of a flow that consists of copies of one node, the
``body``. What the arguments of the body take from the outer run, beside the item, is resolved once and given to that
run as its parameters, by the text of each reference.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

from taskmesh.model.flow import DEFAULT_POOL, Compensation, Copies, Flow, Node, OnFailure
from taskmesh.model.node_types import type_of_task
from taskmesh.model.params import type_name
from taskmesh.model.problems import Path
from taskmesh.model.references import Compiler, Template, compile_value, read_template
from taskmesh.model.resolving import Resolver, output_resolver
from taskmesh.model.subflows import ChildStep, OnParentClose
from taskmesh.model.values import Value, Values

MAX_ITEMS = 200_000
"""As many as a flow may have nodes."""

ITEM, INDEX = "item", "index"
OVER, GIVEN, ARGS = "over", "given", "args"
"""What the arguments of a mapped node are: its list, and by the text of its reference what all items are given; in a
flow's function, where those are not known yet, the arguments of the task."""

ORIGIN = "of"
"""In the parameters of the run of its items, beside what they are given: whose items they are, as ``RUN/NODE``."""

MOST_BYTES = "most_bytes"
"""And how large the list of what they give back may be."""


class ItemFailure(StrEnum):
    """What the failure of one item means for the others."""

    FAIL = "fail"  # nothing new starts, and the mapped node fails
    CONTINUE = "continue"  # the others go on; whether the node fails depends on how many have succeeded


@dataclass(frozen=True, slots=True)
class Map(ChildStep):
    """Runs ``body`` for each item. With ``slice_size``, items are taken together in slices of at most so many.

    ``slice_by`` names the part of an item by which it gets to its slice; by the whole where empty. ``most_at_once`` is
    how many may have begun and not ended, 0 = any number. After failures that let the others go on, ``min_success``
    must have succeeded: a number of items, or where it is no whole number, that part of all.
    """

    kind: ClassVar[str] = "map"

    body: Node
    slice_size: int = 0
    slice_by: str = ""
    most_at_once: int = 0
    on_item_failure: ItemFailure = ItemFailure.FAIL
    min_success: float = 0
    # It begins no flow that somebody has written.
    reference: str = ""
    inline: Flow | None = None
    on_parent_close: OnParentClose = OnParentClose.CANCEL

    @property
    def works_as(self) -> Node:
        return self.body

    def placed(self, node: Node, body: Node) -> Node:
        """Its node, running copies of ``body``. What undoes it is the run of its items, where those can be undone."""
        pool, undo = body.pool or DEFAULT_POOL, body.compensation
        body = replace(body, pool=pool, compensation=undo and replace(undo, pool=undo.pool or pool))
        undone_by = Compensation("", pool) if undo else None
        return replace(node, pool=pool, step=replace(self, body=body), compensation=undone_by)

    @property
    def label(self) -> str:
        return f"{self.kind} {self.body.label}"

    def place_of(self, name: str) -> Path:
        return (self.kind,) if name == OVER else self._place_of_args

    @property
    def _place_of_args(self) -> Path:
        return ("with" if type_of_task(self.body.task) else "args",)

    def needed(self, count: int) -> int:
        """How many of so many items must succeed."""
        if self.on_item_failure is ItemFailure.FAIL:
            return count
        part = self.min_success
        # Not 91 of 100 for 0.9, of which the binary form is a little more.
        return part if isinstance(part, int) else math.ceil(round(part * count, 6))

    def findings(self) -> Iterator[tuple[Path, str]]:
        if self.body.step:
            yield from self.body.step.findings()
        place = self._place_of_args
        if isinstance(self.body.args, str):
            yield place, f"{place[0]} of a map must name what each argument is, such as {{value: ${{item}}}}"
        compiler = _read(self.body.args, place)
        for problem in compiler.problems:
            yield problem.path, problem.message
        if self.slice_size and compiler.entries:
            entry = compiler.entries[0]
            yield place, f"with 'slice' an item is a list of several, so take ${{item}}, not ${{item.{entry}}}"
        if self.slice_size < 0 or self.slice_size > MAX_ITEMS:
            yield ("slice",), f"slice must be a whole number from 1 to {MAX_ITEMS}"
        if self.slice_by and not self.slice_size:
            yield ("slice_by",), "slice_by needs a 'slice' beside it"
        if self.most_at_once < 0:
            yield ("max_in_flight",), "max_in_flight must be a whole number of at least 1"
        yield from self._findings_of_failure()

    def _findings_of_failure(self) -> Iterator[tuple[Path, str]]:
        least = self.min_success
        if not (0 <= least <= 1 or (isinstance(least, int) and least > 0)):
            yield ("min_success",), "min_success must be a whole number of items, or a part of all between 0.0 and 1.0"
        if least and self.body.compensation:
            yield ("min_success",), "min_success cannot be told of a task that can be undone: leave one of them out"
        if least and self.on_item_failure is ItemFailure.FAIL:
            yield ("min_success",), "min_success needs on_item_failure: continue; else the first failure is enough"


def mapped(body: Node, step: Map, over: Value) -> Node:
    """The node that runs ``body`` for each item of ``over``; what it waits for, and whether it runs, is to be said."""
    return step.placed(Node(body.name, "", mapped_args(over, body.args)), body)


def mapped_args(over: Value, args: Mapping[str, Value] | str) -> dict[str, Value]:
    """The arguments of a mapped node: ``over`` is its list, ``args`` are those of its body."""
    given = given_by(args)
    return {OVER: over, GIVEN: {text: f"${{{text}}}" for text in given}} if given else {OVER: over}


def list_problem(over: Value) -> str:
    """What is wrong with the list of a map; nothing where only a run will tell."""
    each = [*over.values()] if isinstance(over, Mapping) else [over]
    if each and all(isinstance(part, list | tuple) or _is_reference(part) for part in each):
        return ""
    wanted = "a reference to a list, a list, or a mapping of names to lists"
    return f"map must be {wanted}, not {reprlib.repr(over)} ({type_name(over)})"


def _is_reference(value: Value) -> bool:
    return isinstance(value, str) and value.startswith("${") and value.endswith("}") and value.count("${") == 1


def given_by(args: Value) -> Sequence[str]:
    """The references of a body's arguments to the outer run, as their texts."""
    return tuple(_read(args).given)


def copies_flow(outer: Flow, step: Map, copies: Copies) -> Flow:
    """The flow of which the items of a node of the flow ``outer`` are a run."""
    name = f"{outer.name}.{step.body.name}"[:_LONGEST_NAME]
    return Flow(name, outer.version, copies, on_failure=_on_failure(outer, step), shard_by="node")


def _on_failure(outer: Flow, step: Map) -> OnFailure:
    """Where the outer flow undoes what it did, the items that have succeeded are undone after one has failed."""
    if step.on_item_failure is ItemFailure.CONTINUE:
        return OnFailure.CONTINUE
    return OnFailure.COMPENSATE if outer.on_failure is OnFailure.COMPENSATE else OnFailure.FAIL_FAST


_LONGEST_NAME = 255


def compile_item_value(value: Value) -> Template:
    """Read the references of a body's arguments, which are resolved with ``item_values``.

    :raises FlowError: as of ``compile_value``.
    """
    return compile_value(value, _ItemCompiler())


def item_values(item: Any, index: int) -> dict[str, Value]:
    """What ``${item}`` and ``${index}`` stand for, as the outputs with which a template is resolved."""
    return {ITEM: item, INDEX: index}


def _read(args: Value, place: Path = ()) -> _ItemCompiler:
    """What is known of a body's arguments, which stand at a place of its node."""
    compiler = _ItemCompiler()
    compiler.problems = list(read_template(args, place, compiler).problems)
    return compiler


class _ItemCompiler(Compiler):
    """Compiles the arguments of a body: references to the outer run are looked up by their text."""

    forms = "write ${item}, ${index}, ${params.NAME} or ${nodes.NAME.output}, and $${ where ${ is meant literally"

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, None] = {}
        self.entries: list[str] = []

    def resolver_of(self, parts: list[str], path: Path) -> Resolver | None:
        match parts:
            case ["item", *keys] if all(keys):
                self.entries += [key for key in keys[:1] if not key.isdecimal()]
                return output_resolver(ITEM, keys, (ITEM,))
            case ["index"]:
                return output_resolver(INDEX, [], (INDEX,))
        if super().resolver_of(parts, path) is None:
            return None
        text = ".".join(parts)
        self.given[text] = None
        return _given(text)


def _given(text: str) -> Resolver:
    def resolve(params: Values, outputs: Values) -> Value:
        return params[text]

    return resolve
