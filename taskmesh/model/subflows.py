"""Steps that are runs of their own: a node begins a child run, waits for its end, and has its result as output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Self

from taskmesh.errors import UsageError
from taskmesh.model.flow import Flow, Node
from taskmesh.model.flow_versions import FlowReference
from taskmesh.model.problems import Path
from taskmesh.model.steps import Step

MAX_DEPTH = 20
"""How many runs deep sub-flows may be nested, the outermost run included."""


class OnParentClose(StrEnum):
    """What becomes of a child run when its parent is cancelled, fails, is over its deadline or is terminated."""

    CANCEL = "cancel"  # it is ended in the same way
    ABANDON = "abandon"  # it goes on, and nobody waits for it


class ChildStep(Step):
    """What the steps have in common that begin child runs."""

    __slots__ = ()

    on_parent_close: OnParentClose

    @property
    def flow(self) -> Flow | None:
        """The flow that it has in itself, if any."""
        return None

    def having(self, flow: Flow) -> Self:
        """The same with another flow in itself."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Subflow(ChildStep):
    """A run of another flow, with the ``args`` of the node as its parameters.

    ``reference`` names a registered flow, as ``NAME``, ``NAME@NUMBER`` or ``NAME@latest``; it is empty where the flow
    stands in the node itself, as ``inline``.
    """

    kind: ClassVar[str] = "flow"

    reference: str = ""
    inline: Flow | None = None
    on_parent_close: OnParentClose = OnParentClose.CANCEL

    @property
    def flow(self) -> Flow | None:
        return self.inline

    def having(self, flow: Flow) -> Self:
        return replace(self, inline=flow)

    def findings(self) -> Iterator[tuple[Path, str]]:
        if self.inline is None:
            try:
                FlowReference.parse(self.reference)
            except UsageError as error:
                yield ("flow",), str(error)


def references_of(flow: Flow) -> Iterator[str]:
    """The registered flows that a flow names, and those that flows inside it name."""
    for step in child_steps(flow):
        if isinstance(step, Subflow) and step.reference:
            yield step.reference


def child_steps(flow: Flow) -> Iterator[ChildStep]:
    """The steps of a flow that begin child runs, and those of the flows that stand in them."""
    for node in flow.kinds:
        yield from _child_steps_of(node)


def _child_steps_of(node: Node) -> Iterator[ChildStep]:
    if not isinstance(node.step, ChildStep):
        return
    yield node.step
    if node.step.flow is not None:
        yield from child_steps(node.step.flow)
    if node.step.works_as is not None:
        yield from _child_steps_of(node.step.works_as)
