"""Mapped tasks in flows that are written as Python functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskmesh.errors import UsageError
from taskmesh.model.catalog import TaskInfo
from taskmesh.model.flow import Flow, Node
from taskmesh.model.mapping import ARGS, INDEX, ITEM, MAX_ITEMS, OVER, ItemFailure, Map
from taskmesh.model.references import MAX_DEPTH
from taskmesh.model.subflows import Subflow
from taskmesh.tasks.placeholders import Placeholder
from taskmesh.tasks.trace import Handle, Trace


class ItemHandle(Placeholder):
    """The item with which a mapped task is called."""

    __slots__ = ()

    def _root(self) -> str:
        return ITEM


class IndexHandle(Placeholder):
    """The place of that item among all, counted from 0."""

    __slots__ = ()

    def _root(self) -> str:
        return INDEX

    def __getitem__(self, key: object) -> Any:
        raise UsageError("mesh.index is a number, and has no parts")


class MapHandle(Handle):
    """A mapped node, and the list of outputs that it will have."""

    __slots__ = ()

    def slices(self, size: int, by: str = "") -> MapHandle:
        """Call the task with lists of at most ``size`` items. Which are together depends on the items themselves.

        ``by`` names the entry of an item that decides; the whole item where it is empty.

        :raises UsageError: ``size`` is no whole number of at least 1.
        """
        return self._change(slice_size=self._number(size, "slices"), slice_by=by)

    def max_in_flight(self, count: int) -> MapHandle:
        """Let at most ``count`` items have begun and not ended at any time.

        :raises UsageError: it is no whole number of at least 1.
        """
        return self._change(most_at_once=self._number(count, "max_in_flight"))

    def on_item_failure(self, policy: str, min_success: float = 0) -> MapHandle:
        """Say what the failure of an item means: ``fail`` (the default) or ``continue`` with the others.

        To continue, ``min_success`` items must have succeeded in the end; with a decimal point, such as 0.9, it is a
        part of all. In the list of outputs, ``{"failed": {"type": ..., "message": ...}}`` stands for what failed.

        :raises UsageError: for any other policy, or what is no number.
        """
        if policy not in list(ItemFailure):
            raise UsageError(f"{self!r}.on_item_failure(): it is fail or continue, not {policy!r}")
        return self._change(on_item_failure=ItemFailure(policy), min_success=self._part(min_success))

    def _part(self, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise UsageError(f"{self!r}.on_item_failure(): min_success must be a number, not {value!r}")
        return value

    def _number(self, value: Any, what: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ITEMS:
            raise UsageError(f"{self!r}.{what}(): it must be a whole number from 1 to {MAX_ITEMS}, not {value!r}")
        return value

    def _change(self, **rules: Any) -> MapHandle:
        assert isinstance(self._node.step, Map)
        self._node.step = replace(self._node.step, **rules)
        return self


def of_item(trace: Trace, items: Any, free: Callable[[], Sequence[str]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Which parameters get the item or a part of it; ``free`` names the one that does where ``items`` has no names.

    None, where the arguments that are ``given`` say by ``mesh.item`` where it goes.
    """
    if _has_item(given, MAX_DEPTH):
        return {}
    if isinstance(items, Mapping):
        return {name: ItemHandle(trace, (name,)) for name in items}
    return {name: ItemHandle(trace) for name in free()}


def _has_item(value: Any, depth: int) -> bool:
    """What is nested deeper is refused by whoever reads it."""
    if depth == 0 or not isinstance(value, Mapping | list | tuple):
        return isinstance(value, ItemHandle)
    return any(_has_item(each, depth - 1) for each in (value.values() if isinstance(value, Mapping) else value))


def map_flow(trace: Trace, flow: Flow, over: Any, arguments: Mapping[str, Any]) -> MapHandle:
    """Add a node that begins a child run of ``flow`` for each item of ``over``, with ``arguments`` as its params."""
    step = Map(Node("", "", step=Subflow(inline=flow)))
    handle = trace.step(step, {OVER: over, ARGS: arguments}, flow.name)
    return MapHandle(trace, trace.node_of(handle, "map()"))


def map_task(trace: Trace, task: TaskInfo, over: Any, arguments: Mapping[str, Any]) -> MapHandle:
    """Add a node that runs ``task`` for each item of ``over``, called with ``arguments``."""
    step = Map(Node("", task.name))
    handle = trace.step(step, {OVER: over, ARGS: arguments}, task.name, task=task)
    return MapHandle(trace, trace.node_of(handle, "map()"))
