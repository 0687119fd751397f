"""Steps that are runs of their own: a node begins a child run, waits for its end, and has its result as output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Self

from taskmesh.errors import UsageError
from taskmesh.model.flow import Flow
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

    reference: str
    inline: Flow | None
    on_parent_close: OnParentClose

    @property
    def label(self) -> str:
        return f"{self.kind} {self.inline.name if self.inline else self.reference}"

    @property
    def ends_with_parent(self) -> bool:
        """Whether what it begins goes on no more when nobody waits for it any more."""
        return self.on_parent_close is not OnParentClose.ABANDON

    @property
    def given(self) -> tuple[str, ...]:
        """The parameters of the child that it fills in by itself."""
        return ()

    def having(self, flow: Flow) -> Self:
        """The same with another flow in itself."""
        raise NotImplementedError

    def findings(self) -> Iterator[tuple[Path, str]]:
        if self.inline is None:
            try:
                FlowReference.parse(self.reference)
            except UsageError as error:
                yield ("flow",), str(error)


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

    def having(self, flow: Flow) -> Self:
        return replace(self, inline=flow)


def flows_in(flow: Flow) -> Iterator[Flow]:
    """A flow, and all flows that stand in its nodes, at any depth."""
    yield flow
    for node in flow.working:
        if isinstance(node.step, ChildStep) and node.step.inline is not None:
            yield from flows_in(node.step.inline)


def tasks_in(flow: Flow) -> set[str]:
    """The tasks of the nodes of a flow, and of the flows in it."""
    return {node.task for each in flows_in(flow) for node in each.working if node.task}


def references_of(flow: Flow) -> Iterator[str]:
    """The registered flows that a flow names, and those that flows inside it name."""
    for each in flows_in(flow):
        for node in each.working:
            if isinstance(node.step, ChildStep) and node.step.reference:
                yield node.step.reference
