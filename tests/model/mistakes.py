"""Mistakes put into the product on purpose, which random flows must find: some of the simulation's, and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from taskmesh.dispatch.advance import Ending
from taskmesh.dispatch.maps.slices import sliced
from taskmesh.dispatch.registered import Registered
from taskmesh.model.flow_versions import FlowReference, FlowVersion
from taskmesh.model.steps import Step
from taskmesh.model.waiting_words import timeout_error
from taskmesh.worker.channels.protocol import Failure
from taskmesh.worker.engine.attempt import Attempt
from tests.model.random_flows import Mix
from tests.simulation.mutants import MUTANTS, Mutation, in_script, instead

_failed = Attempt.failed


def _fail_alone(attempt: Attempt, failure: Failure) -> Ending:
    return _failed(attempt, failure)._replace(halt="")


def _newest(registered: Registered, reference: str) -> FlowVersion:
    return registered.find(FlowReference(FlowReference.parse(reference).name, latest=True))


def _crossed(lists: Mapping[str, Sequence[Any]]) -> Sequence[dict[str, Any]]:
    names = list(lists)[::-1]
    return [dict(zip(names, values, strict=True)) for values in product(*(lists[name] for name in names))]


def _sliced_without_the_last(items: Sequence[Any], size: int, by: str) -> list[list[Any]]:
    return sliced(items[:-1], size, by)


def _fail(attempt: Attempt, step: Step, seconds: float) -> Ending:
    return attempt.failed(Failure(timeout_error(step), "", ""))


_SHARED = (
    "a rule does not wait for all ends",
    "an expression counts what has not ended",
    "a failure that is taken fails its run",
    "a false condition lets its node run",
    "a switch leads to every branch",
    "a node that its gates shut out has had an attempt",
    "a hook runs after every end",
    "the hooks of a flow do not wait for its last node",
    "what was only started is undone",
    "an undo does not wait for all before it",
    "a failed undo is forgotten",
    "what is committed is not undone",
)

MISTAKES: dict[str, Mutation] = {
    **{name: MUTANTS[name] for name in _SHARED},
    "a condition is asked again at each claim": in_script("claim_node", " and not values[FIELDS + BEFORE_FIELDS]", ""),
    "a loop ends with its first iteration": instead("taskmesh.model.loops.Loop.is_done", lambda *_: True),
    "a loop never ends by its condition": instead("taskmesh.model.loops.Loop.is_done", lambda *_: False),
    "a map takes any number of failures": instead("taskmesh.model.mapping.Map.needed", lambda *_: 0),
    "nothing is tried again": instead("taskmesh.worker.engine.fates.next_delay_seconds", lambda *_: None),
    "a slice loses an item": instead("taskmesh.dispatch.maps.items.sliced", _sliced_without_the_last),
    "a product varies its first list fastest": instead("taskmesh.dispatch.maps.items._product", _crossed),
    "a name means the newest version": instead("taskmesh.dispatch.registered.Registered.usable", _newest),
    "a failure halts nothing": instead("taskmesh.worker.engine.attempt.Attempt.failed", _fail_alone),
    "a halted run begins what is ready": in_script("claim_node", "'deadline', 'halt'", "'deadline', 'nothing'"),
    "children go on without their parent": instead(
        "taskmesh.dispatch.children.closing.Closing.stop", lambda *_, **__: None
    ),
    "who cancels a run and wishes it undone only cancels it": in_script(
        "halt_run", "if ARGV[6] == '1' then redis.call('HSETNX', run, 'compensation', 0) end\n", ""
    ),
    "nobody is killed with a cancelled run": instead("taskmesh.worker.engine.halting.Halting._end", lambda *_: None),
    "a cancelled run runs on": in_script("halt_run", "  change('halt', final)\n", ""),
    "a wait has no default": instead("taskmesh.worker.engine.waiting._timed_out", _fail),
}

_UNDONE = Mix(kinds=("task",), policies=("compensate",), cancels=(False,))

FOCUS: dict[str, Mix] = {
    "a condition is asked again at each claim": Mix(
        kinds=("task", "sleep"), rules=("any_success", "any_done"), cancels=(False,), nodes_per_condition=1
    ),
    "a loop ends with its first iteration": Mix(kinds=("loop", "task loop")),
    "a loop never ends by its condition": Mix(kinds=("loop", "task loop")),
    "a map takes any number of failures": Mix(kinds=("map",)),
    "a slice loses an item": Mix(kinds=("slices",)),
    "a product varies its first list fastest": Mix(kinds=("product",)),
    "a name means the newest version": Mix(kinds=("task", "named flow")),
    "children go on without their parent": Mix(kinds=("task", "flow"), cancels=(True,)),
    "nobody is killed with a cancelled run": Mix(kinds=("task",), cancels=(True,)),
    "a switch leads to every branch": Mix(kinds=("task",), cancels=(False,)),
    "what was only started is undone": _UNDONE,
    "an undo does not wait for all before it": _UNDONE,
    "a failed undo is forgotten": _UNDONE,
    "who cancels a run and wishes it undone only cancels it": _UNDONE._replace(cancels=(True,)),
}
"""What to draw from where the mistake is rarely to be seen in flows of all constructs."""
