"""A document to the draft of a flow: holds its shape to the keys that exist and their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from taskmesh.flows.choices import ChoiceReading
from taskmesh.flows.document import Item
from taskmesh.flows.fields import (
    BREAKER_KEYS,
    COMPENSATE_KEYS,
    DEFAULT_VERSION,
    FLOW_KEYS,
    INLINE_KEYS,
    NODE_KEYS,
    PARAM_KEYS,
    RETRY_KEYS,
    STEP_KEYS,
    SWITCH_KEYS,
    TYPED_KEYS,
    UNSUPPORTED_FLOW_KEYS,
    UNSUPPORTED_NODE_KEYS,
)
from taskmesh.flows.hooks import hooks_of
from taskmesh.flows.on_event import read_on_event
from taskmesh.flows.policies import PolicyReading
from taskmesh.flows.steps import FORMS, kind_of
from taskmesh.flows.types import WorkReading
from taskmesh.flows.words import one_of
from taskmesh.model.breakers import BreakerRules, Guard
from taskmesh.model.flow import Compensation, Events, Flow, Node, OnFailure, Param, ParamType
from taskmesh.model.policies import RetryPolicy
from taskmesh.model.problems import Hints, Path, Problem


def read_draft(root: Item) -> tuple[Flow, list[Problem]]:
    """The draft that a document describes, and what is wrong with its shape. What is wrong is left out of the draft."""
    reading = _Reading()
    return reading.flow(root), reading.problems


class _Reading:
    """Reads one document; gathers problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._breakers: dict[str, BreakerRules] | None = None

    def flow(self, root: Item) -> Flow:
        fields = self.fields(root, (), "the file", FLOW_KEYS, UNSUPPORTED_FLOW_KEYS)
        if isinstance(root.value, dict) and "flow" not in fields:
            self.found(("flow",), "the key 'flow' is missing")
        return self._flow(root, fields, "unnamed")

    def inner_flow(self, item: Item, path: Path) -> Flow:
        """A flow that stands in a node; where it says no name, its own is still to be made."""
        inner = _Reading()
        fields = inner.fields(item, (), "a flow in a node", INLINE_KEYS, UNSUPPORTED_FLOW_KEYS)
        flow = inner._flow(item, fields, "")
        self.problems += [replace(each, path=(*path, *each.path)) for each in inner.problems]
        return flow

    def _flow(self, root: Item, fields: dict[str, Item], name: str) -> Flow:
        if "breakers" in fields:
            self._breakers = dict(self._declared(fields["breakers"]))
        if isinstance(root.value, dict) and "nodes" not in fields:
            self.found(("nodes",), "the key 'nodes' is missing")
        return Flow(
            name=self._title(fields, "flow") or name,
            version=self._title(fields, "version") or DEFAULT_VERSION,
            params=tuple(self._params(fields.get("params"))),
            on_failure=one_of(fields, "on_failure", OnFailure.FAIL_FAST, self.found),
            shard_by=self.text(fields.get("shard_by"), ("shard_by",)) or "run",
            timeout_seconds=PolicyReading((), self.found).duration(fields.get("timeout"), ("timeout",)),
            events=one_of(fields, "events", Events.NONE, self.found),
            on=read_on_event(fields.get("on"), self),
            result=fields["result"].plain() if "result" in fields else None,
            nodes=(*self._nodes(fields.get("nodes")), *hooks_of(fields.get("hooks"), ("hooks",), "", self)),
        )

    def found(self, path: Path, message: str, on_key: bool = False) -> None:
        self.problems.append(Problem(path, message, on_key))

    def _wrong_type(self, path: Path, what: str, wanted: str, item: Item) -> None:
        self.found(path, f"{what} must be {wanted}, not {item.shown}")

    def fields(
        self, item: Item, path: Path, what: str, known: tuple[str, ...], unsupported: Mapping[str, str]
    ) -> dict[str, Item]:
        if not isinstance(item.value, dict):
            self._wrong_type(path, what, f"a mapping with the keys {', '.join(known)}", item)
            return {}
        for key in item.value:
            if key in unsupported:
                self.found((*path, key), f"{key!r} {unsupported[key]}", on_key=True)
            elif key not in known:
                hint = Hints(known).did_you_mean(key) or f"; known are {', '.join(known)}"
                self.found((*path, key), f"there is no key {key!r} here{hint}", on_key=True)
        return {key: child for key, child in item.value.items() if key in known}

    def text(self, item: Item | None, path: Path) -> str:
        if item is None:
            return ""
        if isinstance(item.value, str):
            if not item.value:
                self.found(path, f"{path[-1]} is empty")
            return item.value
        self._wrong_type(path, str(path[-1]), "a text", item)
        return ""

    def _title(self, fields: dict[str, Item], key: str) -> str:
        """A text, or a number as it was written: ``version: 1.10`` means ``"1.10"``."""
        item = fields.get(key)
        if item is not None and isinstance(item.value, int | float) and not isinstance(item.value, bool):
            return item.text
        return self.text(item, (key,))

    def _entries(self, item: Item | None, path: Path, wanted: str) -> Iterator[tuple[str, Item, Path]]:
        if item is None:
            return
        if not isinstance(item.value, dict):
            self._wrong_type(path, str(path[-1]), wanted, item)
            return
        for name, child in item.value.items():
            yield name, child, (*path, name)

    def _params(self, item: Item | None) -> Iterator[Param]:
        for name, child, path in self._entries(item, ("params",), "a mapping of names to types"):
            yield self._param(name, child, path)

    def _param(self, name: str, item: Item, path: Path) -> Param:
        if isinstance(item.value, str):
            return Param(name, self._param_type(name, item, path))
        fields = self.fields(item, path, f"parameter {name!r}", PARAM_KEYS, {})
        default = fields.get("default")
        return Param(
            name,
            self._param_type(name, fields.get("type"), (*path, "type")),
            self._boolean(fields.get("required"), (*path, "required"), default is None),
            default.plain() if default else None,
        )

    def _param_type(self, name: str, item: Item | None, path: Path) -> ParamType:
        if item is None:
            return ParamType.ANY
        if item.value in list(ParamType):
            return ParamType(str(item.value))
        known = [str(each) for each in ParamType]
        hint = Hints(known).did_you_mean(item.text)
        self.found(path, f"the type of parameter {name!r} must be one of {', '.join(known)}{hint}")
        return ParamType.ANY

    def _boolean(self, item: Item | None, path: Path, default: bool) -> bool:
        if item is None or isinstance(item.value, bool):
            return default if item is None else item.value is True
        self._wrong_type(path, str(path[-1]), "true or false", item)
        return default

    def _nodes(self, item: Item | None) -> Iterator[Node]:
        for name, child, path in self._entries(item, ("nodes",), "a mapping of names to nodes"):
            yield self._node(name, child, path)
            if isinstance(child.value, dict):
                yield from hooks_of(child.value.get("hooks"), (*path, "hooks"), name, self)

    def _node(self, name: str, item: Item, path: Path) -> Node:
        if isinstance(item.value, dict) and "switch" in item.value:
            return self._switch(name, item, path)
        if isinstance(item.value, dict) and (kind := kind_of(item.value)):
            return self._stepping(name, kind, item, path)
        return self._running(item, path)

    def _running(self, item: Item, path: Path) -> Node:
        is_typed = isinstance(item.value, dict) and "type" in item.value
        keys, what = (TYPED_KEYS, "a node with 'type'") if is_typed else (NODE_KEYS, "a node")
        return self.working(str(path[-1]), self.fields(item, path, what, keys, UNSUPPORTED_NODE_KEYS), path, item)

    def working(self, name: str, fields: Mapping[str, Item], path: Path, item: Item) -> Node:
        """A node that runs a task, or has a type in the place of one."""
        return replace(
            self.task_node(fields, path, isinstance(item.value, dict)),
            name=name,
            needs=tuple(self._needs(fields.get("needs"), (*path, "needs"))),
            trigger=ChoiceReading(path, self).trigger(fields),
            when=self.text(fields.get("when"), (*path, "when")),
        )

    def task_node(self, fields: Mapping[str, Item], path: Path, is_mapping: bool = True) -> Node:
        """What these fields of the node at ``path`` say of its task and how that is run."""
        task, args = WorkReading(path, self).work(fields, is_mapping)
        pool, retry = self.text(fields.get("pool"), (*path, "pool")), self._retry(fields.get("retry"), (*path, "retry"))
        limits, guard = PolicyReading(path, self.found).limits(fields), self._guard(fields, path)
        undo = self._compensation(fields.get("compensate"), (*path, "compensate"))
        return Node(str(path[-1]), task, args, (), pool, retry, limits, guard, undo)

    def _stepping(self, name: str, kind: str, item: Item, path: Path) -> Node:
        form = FORMS[kind]
        fields = self.fields(item, path, f"a node with {kind!r}", (*form.keys, *STEP_KEYS), {})
        choices, said = ChoiceReading(path, self), form.read(fields, path, self)
        return Node(
            name,
            task="",
            args=said.args,
            retry=said.retry,
            limits=said.limits,
            needs=tuple(self._needs(fields.get("needs"), (*path, "needs"))),
            pool=self.text(fields.get("pool"), (*path, "pool")),
            trigger=choices.trigger(fields),
            when=self.text(fields.get("when"), (*path, "when")),
            step=said.step,
        )

    def _switch(self, name: str, item: Item, path: Path) -> Node:
        fields, choices = self.fields(item, path, "a switch", SWITCH_KEYS, {}), ChoiceReading(path, self)
        return Node(
            name,
            task="",
            needs=tuple(self._needs(fields.get("needs"), (*path, "needs"))),
            pool=self.text(fields.get("pool"), (*path, "pool")),
            trigger=choices.trigger(fields),
            when=self.text(fields.get("when"), (*path, "when")),
            switch=choices.switch(fields["switch"]),
        )

    def _compensation(self, item: Item | None, path: Path) -> Compensation | None:
        if item is None or isinstance(item.value, str):
            return Compensation(self.text(item, path), pool="") if item else None
        fields = self.fields(item, path, "compensate, where it is no name of a task,", COMPENSATE_KEYS, {})
        if isinstance(item.value, dict) and "task" not in fields:
            self.found((*path, "task"), "the key 'task' is missing")
        return Compensation(
            self.text(fields.get("task"), (*path, "task")) or "unnamed",
            self.text(fields.get("pool"), (*path, "pool")),
            self._retry(fields.get("retry"), (*path, "retry")),
            PolicyReading(path, self.found).limits(fields),
        )

    def _declared(self, item: Item) -> Iterator[tuple[str, BreakerRules]]:
        for name, child, path in self._entries(item, ("breakers",), "a mapping of names to rules"):
            fields = {} if child.value is None else self.fields(child, path, "a breaker", BREAKER_KEYS, {})
            rules = PolicyReading(path, self.found).breaker(name, fields)
            yield name, rules

    def _guard(self, fields: Mapping[str, Item], path: Path) -> Guard | None:
        name = self.text(fields.get("breaker"), (*path, "breaker"))
        fallback = self.text(fields.get("fallback"), (*path, "fallback"))
        if not name:
            if fallback and "breaker" not in fields:
                self.found((*path, "fallback"), "'fallback' needs a 'breaker' beside it", on_key=True)
            return None
        if self._breakers is not None and name not in self._breakers:
            hint = Hints(self._breakers).did_you_mean(name)
            self.found((*path, "breaker"), f"breaker {name!r} is not declared below 'breakers'{hint}")
        return Guard((self._breakers or {}).get(name, BreakerRules(name)), fallback)

    def _retry(self, item: Item | None, path: Path) -> RetryPolicy | None:
        if item is None:
            return None
        return PolicyReading(path, self.found).retry(self.fields(item, path, "retry", RETRY_KEYS, {}))

    def _needs(self, item: Item | None, path: Path) -> Iterator[str]:
        if item is None:
            return
        if not isinstance(item.value, list):
            self._wrong_type(path, "needs", "a list of node names", item)
            return
        names = set()
        for position, child in enumerate(item.value):
            name = child.value
            if not isinstance(name, str):
                self._wrong_type((*path, position), "each of needs", "a node name", child)
            elif name in names:
                self.found((*path, position), f"needs names {name!r} twice")
            else:
                names.add(name)
                yield name
