"""Random flows of all constructs, run on virtual time, end as the reference model says."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, note, settings

from taskmesh import Run, RunStateError, current_task, load_flow
from taskmesh.client.details import NodeDetails, RunDetails
from taskmesh.model.states import NodeState
from taskmesh.testing import MeshFactory, VirtualMesh
from tests.model.interpreter import Sent
from tests.model.life import End, Life, Moment, Played
from tests.model.mistakes import MISTAKES
from tests.model.random_flows import TASK, Case, Message, cases, durations

BY = "somebody"
MOST_RUNS = 1000


def work(args: Mapping[str, Any], attempt: int) -> int:
    """What the only task gives: a number that tells other arguments apart."""
    if attempt <= args.get("fails", 0):
        raise ZeroDivisionError("as it should")
    told = json.dumps([args.get("of"), args.get("count")], sort_keys=True)
    return zlib.crc32(told.encode()) % 3


def make_mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    """A mesh with the task."""
    mesh = mesh_factory()

    @mesh.task(name=TASK)
    def task(fails: int = 0, takes: int = 0, of: Any = None, count: int | None = None) -> int:
        return work({"fails": fails, "of": of, "count": count}, current_task().attempt)

    return mesh


@pytest.fixture
def mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    return make_mesh(mesh_factory)


def play(mesh: VirtualMesh, case: Case) -> tuple[RunDetails, Any, Life]:
    """A flow is run, and told again by the model."""
    flow = load_flow(yaml.safe_dump({**case.document}), "random.yaml", mesh.registry)
    known = {each.run_id for each in mesh.runs(limit=MOST_RUNS)}
    with ExitStack() as stubs:
        for node, seconds in durations(case.document).items():
            stubs.enter_context(mesh.stub(TASK, node=node, takes=seconds))
        start, run = mesh.clock.now(), mesh.submit(flow)
        sent = dict(filter(None, (_send(mesh, run, message, start) for message in case.messages)))
        run.wait()
    news = [each.run_id for each in mesh.runs(limit=MOST_RUNS) if each.run_id not in known]
    runs = {run_id: mesh.run(run_id) for run_id in reversed(news)}
    result = run.result() if run.status() == "succeeded" else None
    return run.details(), result, Life(flow, {}, _played(runs, run.id, sent), work)


def _send(mesh: VirtualMesh, run: Run, message: Message, start: float) -> tuple[str, Sent] | None:
    mesh.clock.advance_to(max(mesh.clock.now(), start + message.at_seconds))
    at = mesh.clock.now()
    try:
        if not message.is_decision:
            run.signal(message.node, message.payload, by=BY)
        elif message.payload:
            run.approve(message.node, by=BY)
        else:
            run.reject(message.node, by=BY)
    except RunStateError:
        return None  # it has ended
    payload = (message.payload, "") if message.is_decision else message.payload
    return message.node, Sent(BY, at, payload)


def _played(runs: Mapping[str, Run], run_id: str, sent: Mapping[str, Sent]) -> Played:
    children: dict[str, list[Played]] = {}
    for each, run in runs.items():
        parent = run.details().parent
        if parent is not None and parent.run_id == run_id:
            children.setdefault(parent.node, []).append(_played(runs, each, {}))
    events = [each for each in runs[run_id].history() if each.kind == "node" and each.node is not None]
    return Played([Moment(str(each.node), NodeState(each.state), each.at) for each in events], children, sent)


def check(mesh: VirtualMesh, case: Case) -> None:
    """Play it, and compare."""
    found, result, told = play(mesh, case)
    assert {node.name: _end(node) for node in found.nodes} == {name: _timeless(end) for name, end in told.ends.items()}
    assert (str(found.status), _plain(result)) == (str(told.end.state), _plain(told.end.output))


def _end(node: NodeDetails) -> End:
    cause = node.cause if node.status is NodeState.SKIPPED and node.cause in ("when", "branch") else ""
    return _timeless(End(node.status, node.output, cause, node.attempts))


def _timeless(end: End) -> End:
    return end._replace(output=_plain(end.output))


def _plain(output: Any) -> Any:
    """An output without the moment of a decision, of which nobody can say in advance what it will be."""
    if not isinstance(output, dict):
        return output
    return {key: 0.0 if key == "at" else _plain(value) for key, value in output.items()}


def told(case: Case) -> str:
    """A case as a reader of a failure wants to see it."""
    flow = yaml.safe_dump(case.document, sort_keys=False, default_flow_style=None, width=120)
    return "\n".join([flow, *map(str, case.messages)])


SETTINGS = settings(
    deadline=None, derandomize=True, database=None, max_examples=60, suppress_health_check=[*HealthCheck]
)


@pytest.mark.timeout(600)
@SETTINGS
@given(case=cases())
def test_random_flows_end_as_the_model_says(mesh: VirtualMesh, case: Case) -> None:
    note(told(case))
    check(mesh, case)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(mesh_factory: MeshFactory, name: str) -> None:
    with MISTAKES[name]():
        mesh = make_mesh(mesh_factory)

        @settings(SETTINGS, max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)
        @given(case=cases())
        def look(case: Case) -> None:
            check(mesh, case)

        with pytest.raises(AssertionError):
            look()
