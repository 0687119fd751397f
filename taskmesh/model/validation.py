"""The rules that a flow has to keep, whichever face it was written with. Finds everything that is wrong at once.

A draft is a ``Flow`` whose nodes stand in any order, whose ``needs`` may leave out the nodes that ``args`` refers to,
and whose nodes may have an empty ``pool``: that of their task then, as with a policy or a limit that is not given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from taskmesh.errors import FlowError
from taskmesh.model.arguments import argument_places, argument_problems, named_arguments, undo_problems
from taskmesh.model.breakers import BreakerRules, Guard
from taskmesh.model.catalog import TaskCatalog, TaskInfo
from taskmesh.model.child_rules import ChildRules
from taskmesh.model.choices import Choices, with_pools
from taskmesh.model.durations import duration_problem
from taskmesh.model.events.on_event_rules import on_event_problems
from taskmesh.model.events.waits import event_wait_findings
from taskmesh.model.flow import ALL_PARAMS, DEFAULT_POOL, Compensation, Flow, Node, OnFailure
from taskmesh.model.graph import cycle_sentence, find_cycle, order_of
from taskmesh.model.hook_rules import in_order, look_at_hooks
from taskmesh.model.loops import Loop
from taskmesh.model.node_types import type_of_task, unknown_type
from taskmesh.model.params import fits, type_sentence
from taskmesh.model.problems import Hints, Path, Problem, subject_of
from taskmesh.model.references import NAME_PATTERN, read_template
from taskmesh.model.subflows import ChildStep
from taskmesh.model.values import Value
from taskmesh.model.waiting import waiting_findings

MAX_NODES = 200_000

POOL_PATTERN = r"(?!events$)[A-Za-z_][A-Za-z0-9_-]{0,63}"
POOL_RULE = "must be 1-64 letters, digits, _ or -, no digit first, and not events"
"""The exchange of events stands where that of a pool with this name would."""
TITLE_PATTERN = r"[^\s${}]{1,255}"
VERSION_PATTERN = r"[A-Za-z0-9._+-]{1,64}"

_NAME = re.compile(NAME_PATTERN)
_POOL = re.compile(POOL_PATTERN)
_TITLE = re.compile(TITLE_PATTERN)
_VERSION = re.compile(VERSION_PATTERN)
_NAME_RULE = "a name begins with a letter or _, goes on with letters, digits, _ or -, and has at most 128 characters"


def check(draft: Flow, tasks: TaskCatalog | None = None) -> list[Problem]:
    """Every rule that the draft breaks. ``tasks``, where given, are the only ones that nodes may name."""
    return examine(draft, tasks)[0]


def complete(draft: Flow, tasks: TaskCatalog | None = None) -> Flow:
    """The flow that a draft stands for: needs and pools filled in, nodes in topological order.

    :raises FlowError: with every problem of the draft.
    """
    problems, flow = examine(draft, tasks)
    if problems:
        raise FlowError([f"flow {draft.name!r}: {problem}" for problem in problems])
    return flow


def examine(draft: Flow, tasks: TaskCatalog | None = None) -> tuple[list[Problem], Flow]:
    """``check`` and ``complete`` in one go; the flow is good only where there is no problem."""
    examination = _Examination(draft, tasks)
    examination.look_at_head()
    if len(draft.nodes) > MAX_NODES:
        examination.found(("nodes",), f"{len(draft.nodes)} nodes; a flow may have {MAX_NODES}: split it into several")
        return examination.problems, draft
    nodes = with_pools([examination.look_at_node(node) for node in draft.nodes if not node.hook])
    hooks = [examination.look_at_task(*hook) for hook in look_at_hooks(draft.nodes, nodes, examination)]
    examination.look_at_references(draft.result, ("result",))
    examination.look_at_on_failure(nodes)
    for path, problem in (*waiting_findings(nodes), *event_wait_findings(nodes)):
        examination.found(path, problem)
    order = examination.order(nodes)
    nodes = [nodes[position] for position in order]
    return examination.problems, replace(draft, nodes=(*nodes, *in_order(hooks, nodes)))


class _Examination:
    """Goes over one draft and gathers problems."""

    def __init__(self, draft: Flow, tasks: TaskCatalog | None) -> None:
        self.problems: list[Problem] = []
        self._draft = draft
        self._tasks = tasks
        self._names = Counter(node.name for node in draft.nodes if not node.hook)
        self._params = Counter(param.name for param in draft.params)
        self._node_hints = Hints(self._names)
        self._param_hints = Hints(self._params)
        self._task_hints = Hints(tasks.names() if tasks is not None else ())
        self._choices = Choices(draft, self)

    def found(self, path: Path, message: str, on_key: bool = False) -> None:
        self.problems.append(Problem(path, message, on_key))

    def look_at_head(self) -> None:
        draft = self._draft
        if not _TITLE.fullmatch(draft.name):
            self.found(("flow",), f"flow name {draft.name!r} must be 1-255 characters without spaces, $, {{ or }}")
        if not _VERSION.fullmatch(draft.version):
            self.found(("version",), f"version {draft.version!r} must be 1-64 letters, digits or any of . _ + -")
        if not self._names:
            self.found(("nodes",), "the flow has no nodes; it needs at least one")
        self._look_at_params()
        self._look_at_shard_by()
        self.problems += on_event_problems(draft)
        if draft.timeout_seconds is not None and (problem := duration_problem(draft.timeout_seconds)):
            self.found(("timeout",), f"timeout {problem}")
        for name, count in self._names.items():
            if count > 1:
                self.found(("nodes", name), f"{count} nodes have this name; give each its own", on_key=True)
            if not _NAME.fullmatch(name):
                self.found(("nodes", name), f"the name is not allowed: {_NAME_RULE}", on_key=True)

    def _look_at_params(self) -> None:
        for name, count in self._params.items():
            if count > 1:
                self.found(("params", name), f"{count} parameters are named {name!r}", on_key=True)
            if not _NAME.fullmatch(name):
                self.found(("params", name), f"the parameter name {name!r} is not allowed: {_NAME_RULE}", on_key=True)
        for param in self._draft.params:
            path = ("params", param.name, "default")
            if param.required and param.default is not None:
                self.found(path, f"parameter {param.name!r} is required, so its default would never be used")
            if not param.required and param.default is not None and not fits(param, param.default):
                self.found(path, f"the default of parameter {param.name!r} {type_sentence(param, param.default)}")

    def _look_at_shard_by(self) -> None:
        shard_by = self._draft.shard_by
        root, _, name = shard_by.partition(".")
        if root == "params" and name:
            self.know_param(name, ("shard_by",))
        elif shard_by not in ("run", "node"):
            self.found(("shard_by",), f"shard_by {shard_by!r} must be run, node or params.NAME")

    def look_at_node(self, node: Node) -> Node:
        """The node with its needs and its pool filled in."""
        path = ("nodes", node.name)
        if isinstance(node.args, str) and node.args != ALL_PARAMS:
            key = "with" if type_of_task(node.task) else "args"
            self.found((*path, key), f"{key} must map names to values, or be {ALL_PARAMS}")
        places = argument_places(node)
        references = [name for value, place in places for name in self.look_at_references(value, place)]
        for position, name in enumerate(node.needs):
            self.know_node(name, (*path, "needs", position), "needs")
        needs = tuple(dict.fromkeys((*node.needs, *references, *self._choices.needed(node))))
        self._choices.look_at_trigger(node, needs)
        if node.step is not None and (body := node.step.works_as):
            node = node.step.placed(node, self._look_at_work(body, path))
        for below, problem in node.step.findings() if node.step else ():
            self.found((*path, *below), problem)
        if node.switch is None and (node.step is None or node.step.runs_task or isinstance(node.step, ChildStep)):
            return replace(self._look_at_work(node, path), needs=needs)
        return replace(node, needs=needs, pool=self._checked_pool(node.pool, path) if node.pool else "")

    def _look_at_work(self, node: Node, path: Path) -> Node:
        """The node with what its task, or the flow that it begins, says of it filled in."""
        if not isinstance(node.step, ChildStep):
            return self.look_at_task(node, path)
        return self._with_child(replace(node, pool=self._checked_pool(node.pool, path) if node.pool else ""), path)

    def _with_child(self, node: Node, path: Path) -> Node:
        self._look_at_policies(node, path)
        rules = ChildRules(self._draft, self.found, lambda inner: examine(inner, self._tasks))
        node = rules.completed(node)
        if isinstance(node.step, Loop) and (body := node.step.body) and isinstance(node.args, Mapping):
            info = self._tasks.find(body.task) if self._tasks is not None else None
            if info is not None:
                called = replace(node, task=body.task, args=node.step.called(node.args))
                self._look_at_arguments(called, info)
        return node

    def look_at_task(self, node: Node, path: Path) -> Node:
        """The node with what its task says of it filled in."""
        info = self._known_task(node.task, (*path, "task"))
        if info is not None:
            self._look_at_arguments(node, info)
        pool = self._checked_pool(node.pool or (info.pool if info else DEFAULT_POOL), path)
        self._look_at_policies(node, path)
        for key, problem in node.guard.rules.findings() if node.guard else ():
            self.found((*path, "breaker"), f"the {key} of its breaker {problem}")
        retry = node.retry or (info.retry if info else None)
        limits = node.limits.over(info.limits) if info else node.limits
        guard = self._guard(node, info, path)
        compensation = None if node.hook else self._look_at_undo(node, info)
        return replace(node, pool=pool, retry=retry, limits=limits, guard=guard, compensation=compensation)

    def _guard(self, node: Node, info: TaskInfo | None, path: Path) -> Guard | None:
        """The breaker of a node; by name alone, one that its task has, too, has the rules that stand there."""
        guard, of_task = node.guard, info.guard if info else None
        if guard is None:
            return of_task
        self._look_at_fallback(node, guard.fallback, path)
        is_undeclared = guard.rules == BreakerRules(guard.rules.name)
        if is_undeclared and of_task and of_task.rules.name == guard.rules.name:
            return Guard(of_task.rules, guard.fallback)
        return guard

    def _look_at_fallback(self, node: Node, fallback: str, path: Path) -> None:
        info = self._known_task(fallback, (*path, "fallback")) if fallback else None
        if info is not None:
            self._look_at_arguments(node, info)

    def _checked_pool(self, pool: str, path: Path) -> str:
        if not _POOL.fullmatch(pool):
            self.found((*path, "pool"), f"the pool name {pool!r} {POOL_RULE}")
        return pool

    def _look_at_policies(self, what: Node | Compensation, path: Path) -> None:
        for key, problem in what.retry.findings() if what.retry else ():
            self.found((*path, "retry", key), f"{key} {problem}")
        for key, problem in what.limits.findings():
            self.found((*path, key), f"{key} {problem}")

    def _look_at_undo(self, node: Node, info: TaskInfo | None) -> Compensation | None:
        """What undoes the node: as it says, else as its task does; with its pool and its policies filled in."""
        given = node.compensation or Compensation.by(info.compensator if info else None)
        if given is None:
            return None
        path: Path = ("nodes", node.name, "compensate")
        self._look_at_policies(given, path)
        by = self._known_task(given.task, path)
        pool = self._checked_pool(given.pool or (by.pool if by else DEFAULT_POOL), path)
        self._look_at_undo_arguments(node, by, path)
        if by is None:
            return replace(given, pool=pool)
        return Compensation(given.task, pool, given.retry or by.retry, given.limits.over(by.limits))

    def _look_at_undo_arguments(self, node: Node, by: TaskInfo | None, path: Path) -> None:
        args = named_arguments(node, self._params)
        if args is None:
            return
        for sentence in undo_problems(by, args):
            self.found(path, sentence)

    def look_at_on_failure(self, nodes: Sequence[Node]) -> None:
        compensates = self._draft.on_failure is OnFailure.COMPENSATE
        is_known = self._tasks is not None and not self._tasks.is_open
        if compensates and is_known and not any(node.compensation for node in nodes):
            sentence = "on_failure is compensate, but nothing says what would undo any of the nodes"
            self.found(("on_failure",), sentence)

    def look_at_references(self, value: Value, path: Path) -> Iterable[str]:
        """Names the nodes that the value refers to."""
        reading = read_template(value, path)
        self.problems += reading.problems
        for name, place in reading.nodes.items():
            self.know_node(name, place, "refers to")
        for name, place in reading.params.items():
            self.know_param(name, place)
        return reading.nodes

    def know_node(self, name: str, path: Path, verb: str) -> None:
        if name not in self._names:
            hint = self._node_hints.did_you_mean(name)
            self.found(path, f"{subject_of(path)} {verb} {name!r}, which is no node of this flow{hint}")

    def know_param(self, name: str, path: Path) -> None:
        if name not in self._params:
            hint = self._param_hints.did_you_mean(name)
            self.found(path, f"{subject_of(path)} refers to params.{name}, which the flow does not declare{hint}")

    def _known_task(self, name: str, path: Path) -> TaskInfo | None:
        if not _TITLE.fullmatch(name):
            self.found(path, f"the task name {name!r} must be 1-255 characters without spaces, $, {{ or }}")
            return None
        kind = type_of_task(name)
        if kind and path[-1] != "task":
            self.found(path, f"{name!r} stands for a node type; only a task can be named here")
            return None
        if self._tasks is None:
            return None
        info = self._tasks.find(name)
        if info is None and kind:
            self.found((*path[:-1], "type"), unknown_type(kind, self._tasks.types()))
        elif info is None and not self._tasks.is_open:
            self.found(path, f"task {name!r} is not registered{self._task_hints.did_you_mean(name)}")
        return info

    def _look_at_arguments(self, node: Node, info: TaskInfo) -> None:
        given = named_arguments(node, self._params)
        if given is not None:
            self.problems += argument_problems(replace(node, args=given), info)

    def order(self, nodes: Sequence[Node]) -> list[int]:
        index = {node.name: position for position, node in enumerate(nodes)}
        order = order_of([[index[name] for name in node.needs if name in index] for node in nodes])
        if len(order) < len(nodes):
            cycle = find_cycle({node.name: node.needs for node in nodes})
            self.found(("nodes", cycle[0], "needs"), cycle_sentence(cycle))
        return order
