"""What tests assert of runs. Whatever does not hold is told with a picture of the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, islice, pairwise
from typing import NoReturn, TypeAlias

from taskmesh.app.run import Run
from taskmesh.client.details import NodeDetails, RunEvent
from taskmesh.errors import UsageError
from taskmesh.model.problems import Hints
from taskmesh.model.states import NodeState
from taskmesh.testing.telling import picture_of

Step: TypeAlias = str | Collection[str]
"""A node, or some nodes whose order among themselves does not matter."""


def assert_order(run: Run, *steps: Step) -> None:
    """Assert that each of these nodes began when the one before had ended: ``assert_order(run, "a", {"b", "c"}, "d")``.

    A set or a list stands for nodes in any order among themselves. A node that did not run begins where it ends. Of one
    that was tried again, the first attempt counts for its begin and the last for its end.

    :raises UsageError: the run has no such node.
    """
    __tracebackhide__ = True
    groups = _groups(run, steps)
    events = run.history()
    for before, after in pairwise(groups):
        for first in before:
            for second in after:
                _check_pair(run, events, first, second)


def assert_states(run: Run, states: Mapping[str, str] | None = None, /, **more: str) -> None:
    """Assert the states of some nodes, as ``assert_states(run, reserve="succeeded", ship="skipped")``.

    :raises UsageError: the run has no such node, or there is no such state.
    """
    __tracebackhide__ = True
    wrong = []
    for name, wanted in {**(states or {}), **more}.items():
        if wanted not in set(NodeState):
            raise UsageError(f"there is no state {wanted!r}{Hints(set(NodeState)).did_you_mean(wanted)}")
        if (found := _node(run, name).status) != wanted:
            wrong.append(f"{name} is {found}, not {wanted}")
    if wrong:
        _fail(run, "; ".join(wrong))


def assert_attempts(run: Run, attempts: Mapping[str, int] | None = None, /, **more: int) -> None:
    """Assert how often nodes were tried, as ``assert_attempts(run, charge=3)``; 0 for one that never ran.

    :raises UsageError: the run has no such node.
    """
    __tracebackhide__ = True
    wanted = {**(attempts or {}), **more}
    found = {name: _node(run, name).attempts for name in wanted}
    differing = [name for name in wanted if found[name] != wanted[name]]
    if differing:
        _fail(run, "; ".join(f"{name} had {found[name]} attempts, not {wanted[name]}" for name in differing))


def assert_compensated(run: Run, *steps: Step) -> None:
    """Assert that just these nodes were undone, in this order, as ``assert_compensated(run, {"c", "b"}, "a")``.

    A set or a list stands for nodes in any order among themselves. With no nodes: that none was undone.

    :raises UsageError: the run has no such node.
    """
    __tracebackhide__ = True
    groups = _groups(run, steps)
    undos = {node.undo.name: node.name for node in run.details().nodes if node.undo is not None}
    found = [undos[event.node] for event in run.history() if event.node in undos and event.state == NodeState.SUCCEEDED]
    places = iter(found)
    if [sorted(islice(places, len(group))) for group in groups] != groups or any(places):
        wanted = [" and ".join(group) for group in groups]
        _fail(run, f"undone were {_list(found)}, not {_list(wanted)}")


def _groups(run: Run, steps: Sequence[Step]) -> list[list[str]]:
    groups = [[each] if isinstance(each, str) else sorted(each) for each in steps]
    for name in chain.from_iterable(groups):
        _node(run, name)
    return groups


def _check_pair(run: Run, events: Sequence[RunEvent], first: str, second: str) -> None:
    __tracebackhide__ = True
    ended, begun = _end(events, first), _begin(events, second)
    if ended is None:
        _fail(run, f"{first} has not ended, so {second} cannot have come after it")
    if begun is None:
        _fail(run, f"{second} has not begun, so it has not come after {first}")
    if begun < ended:
        _fail(run, f"{second} began before {first} had ended")


def _begin(events: Sequence[RunEvent], node: str) -> float | None:
    begins = (event.at for event in events if event.node == node and event.state == NodeState.RUNNING)
    return next(begins, _end(events, node))


def _end(events: Sequence[RunEvent], node: str) -> float | None:
    ends = (event.at for event in events if event.node == node and NodeState(event.state).ended)
    return max(ends, default=None)


def _node(run: Run, name: str) -> NodeDetails:
    nodes = {node.name: node for node in run.details().nodes}
    if name not in nodes:
        raise UsageError(f"run {run.id!r} has no node {name!r}{Hints(nodes).did_you_mean(name)}")
    return nodes[name]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _fail(run: Run, sentence: str) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(f"{sentence}\n{picture_of(run)}")
