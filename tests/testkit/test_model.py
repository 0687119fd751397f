"""Random flows of all constructs, run on virtual time, end as the reference model says."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, note, settings

from taskmesh import Run, RunStateError, current_task, load_flow
from taskmesh.client.details import NodeDetails
from taskmesh.model.flow import Flow
from taskmesh.model.states import NodeState
from taskmesh.testing import MeshFactory, VirtualMesh
from tests.model.interpreter import Sent
from tests.model.life import Life
from tests.model.mistakes import FOCUS, MISTAKES
from tests.model.played import UNDOES, End, Found, Known, Moment, Played
from tests.model.random_flows import EVERYTHING, TASK, UNDO, Cancel, Case, Document, Message, cases, durations
from tests.model.undone import Undoing

BY = "somebody"
MOST_RUNS = 1000


def work(args: Mapping[str, Any], attempt: int) -> int:
    """What the only task gives: a number that tells other arguments apart."""
    if attempt <= args.get("fails", 0):
        raise ZeroDivisionError("as it should")
    told = json.dumps([args.get("of"), args.get("count")], sort_keys=True)
    return zlib.crc32(told.encode()) % 3


def unwork(args: Mapping[str, Any], attempt: int) -> None:
    """What undoes it: fails as often as its node is spoilt."""
    if attempt <= args.get("spoils", 0):
        raise ZeroDivisionError("as it should")


def make_mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    """A mesh with the tasks."""
    mesh = mesh_factory()

    @mesh.task(name=TASK)
    def task(fails: int = 0, takes: int = 0, of: Any = None, count: int | None = None, spoils: int = 0) -> int:
        return work({"fails": fails, "of": of, "count": count}, current_task().attempt)

    @mesh.task(name=UNDO)
    def undo(spoils: int = 0) -> None:
        unwork({"spoils": spoils}, current_task().attempt)

    return mesh


@pytest.fixture
def mesh(mesh_factory: MeshFactory) -> VirtualMesh:
    return make_mesh(mesh_factory)


def play(mesh: VirtualMesh, case: Case) -> Life:
    """A flow is run, and told again by the model."""
    flows = {name: _loaded(mesh, each) for name, each in _references(case).items()}
    for registered in case.registered:
        for number in range(1, len(registered.versions) + 1):
            mesh.flows.push(flows[f"{registered.name}@{number}"], activate=True)
        mesh.flows.activate(f"{registered.name}@{registered.active}")
    flow = _loaded(mesh, case.document)
    known = {each.run_id for each in mesh.runs(limit=MOST_RUNS)}
    takes = {
        name: seconds
        for each in (case.document, *_references(case).values())
        for name, seconds in durations(each).items()
    }
    with ExitStack() as stubs:
        for node, seconds in takes.items():
            stubs.enter_context(mesh.stub(TASK, node=node, takes=seconds))
        sent = _steer(mesh, run := mesh.submit(flow), case)
        run.wait()
    news = [each.run_id for each in mesh.runs(limit=MOST_RUNS) if each.run_id not in known]
    runs = {run_id: mesh.run(run_id) for run_id in reversed(news)}
    undoes = case.cancel is not None and case.cancel.undoes
    return Life(flow, {}, _played(runs, run.id, sent), Known(work, unwork, flows), undoes)


def _loaded(mesh: VirtualMesh, document: Document) -> Flow:
    return load_flow(yaml.safe_dump({**document}), "random.yaml", mesh.registry)


def _references(case: Case) -> dict[str, Document]:
    return {name: each for registered in case.registered for name, each in registered.references.items()}


def _steer(mesh: VirtualMesh, run: Run, case: Case) -> dict[str, Sent]:
    """Does to a run what is done to it from outside; returns what was sent."""
    start, sent = mesh.clock.now(), {}
    steps: list[Message | Cancel] = [*case.messages, *([case.cancel] if case.cancel else [])]
    for step in sorted(steps, key=lambda each: each.at_seconds):
        mesh.clock.advance_to(max(mesh.clock.now(), start + step.at_seconds))
        if isinstance(step, Cancel):
            run.cancel(compensate=step.undoes)
        elif _send(run, step):
            payload = (step.payload, "") if step.is_decision else step.payload
            sent[step.node] = Sent(BY, mesh.clock.now(), payload)
    return sent


def _send(run: Run, message: Message) -> bool:
    try:
        if not message.is_decision:
            run.signal(message.node, message.payload, by=BY)
        elif message.payload:
            run.approve(message.node, by=BY)
        else:
            run.reject(message.node, by=BY)
    except RunStateError:
        return False  # it has ended
    return True


def _played(runs: Mapping[str, Run], run_id: str, sent: Mapping[str, Sent]) -> Played:
    children: dict[str, list[Played]] = {}
    for each, run in runs.items():
        parent = run.details().parent
        if parent is not None and parent.run_id == run_id:
            # One that is undone is told to be the child of the undo of its node.
            children.setdefault(parent.node.removeprefix(UNDOES), []).append(_played(runs, each, {}))
    return Played(list(_moments(runs[run_id])), children, _found(runs[run_id]), sent)


def _moments(run: Run) -> Iterator[Moment]:
    for event in run.history():
        if event.kind == "node" and event.node is not None:
            yield Moment(event.node, NodeState(event.state), event.at)
        elif event.kind == "halt" and event.state == NodeState.CANCELLED:
            yield Moment("", NodeState.CANCELLED, event.at)


def _found(run: Run) -> Found:
    details = run.details()
    ends = {node.name: _end(node) for node in details.nodes}
    undos = {node.name: _timeless(_end(node.undo)) for node in details.nodes if node.undo}
    result = run.result() if details.status == "succeeded" else None
    return Found(ends, {name: end._replace(output=None) for name, end in undos.items()}, str(details.status), result)


def check(mesh: VirtualMesh, case: Case) -> None:
    """Play it, and compare."""
    life = play(mesh, case)
    _compare(life, Undoing(life))


def _compare(life: Life, undoing: Undoing) -> None:
    found, told = life.played.found, {name: _timeless(end) for name, end in life.ends.items()}
    assert found.ends == told
    assert found.undos == {name: end._replace(output=None) for name, end in undoing.ends.items()}
    assert found.status == undoing.status
    if found.status == "succeeded":
        assert _plain(found.result) == _plain(life.end.output)
    for children in life.children.values():
        for child in children:
            _compare(child, undoing.of(child))


def _end(node: NodeDetails) -> End:
    cause = node.cause if node.status is NodeState.SKIPPED and node.cause in ("when", "branch") else ""
    return _timeless(End(node.status, node.output, cause, node.attempts))


def _timeless(end: End) -> End:
    """Without what nobody can say: the moment of a decision, and how often a node was taken up that was cancelled."""
    attempts = 0 if end.state is NodeState.CANCELLED else end.attempts
    return end._replace(output=_plain(end.output), attempts=attempts)


def _plain(output: Any) -> Any:
    """An output without the moment of a decision."""
    if not isinstance(output, dict):
        return output
    return {key: 0.0 if key == "at" else _plain(value) for key, value in output.items()}


def told(case: Case) -> str:
    """A case as a reader of a failure wants to see it."""
    flow = yaml.safe_dump(case.document, sort_keys=False, default_flow_style=None, width=120)
    return "\n".join([flow, *map(str, (*case.messages, *case.registered, case.cancel))])


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
        @given(case=cases(FOCUS.get(name, EVERYTHING)))
        def look(case: Case) -> None:
            check(mesh, case)

        with pytest.raises(AssertionError):
            look()
