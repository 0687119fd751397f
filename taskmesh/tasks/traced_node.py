"""A node of a flow that is being traced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from taskmesh.model.catalog import TaskInfo
from taskmesh.model.flow import Compensation, Node, Switch, case_of
from taskmesh.model.hooks import Hook, hook_name
from taskmesh.model.mapping import ARGS, OVER, Map, mapped
from taskmesh.model.policies import NO_LIMITS, RetryPolicy, TimeLimits
from taskmesh.model.steps import Step
from taskmesh.model.triggers import PLAIN, Trigger


@dataclass(slots=True)
class TracedNode:
    """A node while its name and its needs can still change."""

    name: str
    task: TaskInfo | None
    args: dict[str, Any]
    after: list[TracedNode] = field(default_factory=list)
    trigger: Trigger = PLAIN
    when: str = ""
    cases: list[tuple[str, list[TracedNode]]] = field(default_factory=list)
    step: Step | None = None
    retry: RetryPolicy | None = None
    limits: TimeLimits = NO_LIMITS
    hook: Hook | None = None
    observed: TracedNode | None = None

    @property
    def shown(self) -> str:
        """Its name in the flow; a hook is named after what it observes."""
        return hook_name(self.hook, self.observed.name if self.observed else "") if self.hook else self.name

    def draft(self, args: Mapping[str, Any]) -> Node:
        """The node as it is now, called with ``args``."""
        needs, task = tuple(dict.fromkeys(each.shown for each in self.after)), self.task
        if isinstance(self.step, Map):
            node = mapped(self._body(self.step, args[ARGS]), self.step, args[OVER])
            return replace(node, needs=needs, trigger=self.trigger, when=self.when)
        if task is None and self.step is not None:
            allowed = "", self.retry, self.limits
            return Node(self.name, "", args, needs, *allowed, trigger=self.trigger, when=self.when, step=self.step)
        if task is None:
            cases = [case_of(when, tuple(each.shown for each in then)) for when, then in self.cases]
            return Node(
                self.name, "", needs=needs, pool="", switch=Switch(tuple(cases)), trigger=self.trigger, when=self.when
            )
        return replace(self._running(task, args, needs), trigger=self.trigger, when=self.when)

    def _body(self, step: Map, args: Mapping[str, Any]) -> Node:
        """What runs for each item."""
        if self.task is not None:
            return self._running(self.task, args, ())
        return Node(self.name, "", args, (), "", self.retry, self.limits, step=step.body.step)

    def _running(self, task: TaskInfo, args: Mapping[str, Any], needs: tuple[str, ...]) -> Node:
        policies = task.retry, task.limits, task.guard, None if self.hook else Compensation.by(task.compensator)
        return Node(self.shown, task.name, args, needs, task.pool, *policies)
