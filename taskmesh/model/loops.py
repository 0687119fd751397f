"""Loops: a node begins one child run after the other, until a condition over the last one's result holds."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Self

from taskmesh.expressions.cel import Expression, ExpressionError
from taskmesh.model.condition_text import ConditionError
from taskmesh.model.conditions import read_over
from taskmesh.model.flow import ALL_PARAMS, Flow, Node
from taskmesh.model.node_types import type_of_task
from taskmesh.model.problems import Path
from taskmesh.model.subflows import ChildStep, OnParentClose
from taskmesh.model.values import Value

MOST_ITERATIONS = 1000
"""Who takes a node up looks through so many ids at most."""

TASK_NODE = "task"

_TOLD_BY_RUN = "${params}"
"""As an argument: some reference."""

_NAMES: Mapping[str, Collection[str]] = {"output": (), "iteration": ()}
_FORMS = "write output, or iteration, which counts from 1"


def flow_of_task(task: str) -> Flow:
    """A flow that runs a task, or a node type as one, with all of its parameters.

    Its name, and the pool of the task, are still to be found.
    """
    return Flow("", "1", (Node(TASK_NODE, task, ALL_PARAMS, pool=""),))


@dataclass(frozen=True, slots=True)
class Loop(ChildStep):
    """Runs of a flow that follow each other. ``condition`` is over ``output``, the result of the last one.

    Should it not hold after ``max_iterations``, the node fails. ``last_as`` and ``count_as`` name parameters of the
    flow, or are empty: what the run before gave, and the number of the run, counted from 1.
    """

    kind: ClassVar[str] = "repeat_until"

    condition: str
    max_iterations: int
    reference: str = ""
    inline: Flow | None = None
    on_parent_close: OnParentClose = OnParentClose.CANCEL
    last_as: str = ""
    count_as: str = ""

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(name for name in (self.last_as, self.count_as) if name)

    @property
    def body(self) -> Node | None:
        """The node that each of its runs consists of, where that gets just what the loop gives; else None."""
        nodes = self.inline.nodes if self.inline is not None and not self.inline.params else ()
        return nodes[0] if len(nodes) == 1 and nodes[0].args == ALL_PARAMS else None

    def place_of(self, name: str) -> Path:
        return ("with" if self.body and type_of_task(self.body.task) else "args", name)

    def called(self, args: Mapping[str, Value]) -> dict[str, Value]:
        """The arguments of ``body``, given those of the loop, as far as they are known before a run."""
        return {**args, **{name: _TOLD_BY_RUN for name in self.given}}

    def tells_last(self, given: Container[str], turn: int) -> bool:
        """Whether the run after so many others is told what the last of them gave, which is null where there is none.

        The first one is not where it is ``given`` that parameter, nor is a node type.
        """
        is_typed = self.body is not None and bool(type_of_task(self.body.task))
        return bool(self.last_as) and (turn > 0 or not (is_typed or self.last_as in given))

    def having(self, flow: Flow) -> Self:
        return replace(self, inline=flow)

    def findings(self) -> Iterator[tuple[Path, str]]:
        yield from ChildStep.findings(self)
        try:
            _compiled(self.condition)
        except ConditionError as error:
            yield ("repeat_until",), f"its condition {error}"
        if not 1 <= self.max_iterations <= MOST_ITERATIONS:
            yield ("max_iterations",), f"max_iterations must be 1 to {MOST_ITERATIONS}, not {self.max_iterations}"
        if self.last_as and self.last_as == self.count_as:
            yield ("count_as",), f"last_as and count_as both name the parameter {self.last_as!r}"

    def is_done(self, output: Value, iteration: int) -> bool:
        """Whether the run with this number, and this result, was the last one.

        :raises ConditionError: the condition is neither true nor false.
        """
        try:
            found = _compiled(self.condition).evaluate({"output": output, "iteration": iteration})
        except ExpressionError as error:
            raise ConditionError(
                f"{self.condition!r} cannot be evaluated after iteration {iteration}: {error}"
            ) from None
        if not isinstance(found, bool):
            raise ConditionError(f"{self.condition!r} is {found!r} after iteration {iteration}, not true or false")
        return found


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Expression:
    return read_over(text, _NAMES, _FORMS)
