"""What is said of a request reaches everything that is done for it, on real servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskmesh import RunContext, RunState, UsageError
from tests.integration import context_app as app
from tests.integration.mesh_bench import MeshBench, Worker
from tests.integration.shell import Shell

PATIENCE_SECONDS = 90.0
APP = "tests.integration.context_app"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

SPEAKING_APP = """
from taskmesh import Mesh, current_task

mesh = Mesh()

@mesh.task
def say(plan: str | None) -> list[str | None]:
    return [plan, current_task().request.tenant]
"""

SPEAKING_FLOW = """
flow: speaking
nodes:
  say: {task: "speaking_app:say", args: {plan: "${run.metadata.plan}"}, when: 'run.request_id != "req-0"'}
"""


class Seen:
    """Workers whose tasks write down what they see, and that."""

    def __init__(self, bench: MeshBench, path: Path) -> None:
        self._bench = bench
        self._path = path

    def worker(self, *arguments: str) -> Worker:
        return self._bench.worker(*arguments, app=APP, env={"TASKMESH_TEST_SEEN": str(self._path)})

    def lines(self) -> set[str]:
        return set(self._path.read_text().splitlines())


@pytest.fixture
def seen(bench: MeshBench, tmp_path: Path) -> Seen:
    bench.mesh.registry = app.mesh.registry
    return Seen(bench, tmp_path / "seen")


def test_every_node_and_attempt_sees_it_and_so_does_a_fork(bench: MeshBench, seen: Seen) -> None:
    seen.worker()
    ids = {"request_id": "req-1", "tenant": "acme", "traceparent": TRACE}
    run = bench.mesh.submit_params(app.looking, {}, metadata={"plan": "gold"}, **ids)
    found = run.result(timeout=PATIENCE_SECONDS)
    said = {**ids, "metadata": {"plan": "gold"}}
    assert found["first"] == found["async"] == {**said, "attempt": 1}
    assert found["twice"] == {**said, "attempt": 2}
    assert found["told"] == ["gold", "req-1"]
    assert seen.lines() == {f"{node} req-1 gold" for node in ("look 1", "look_twice 1", "look_twice 2", "alook 1")}
    assert run.details().context == RunContext("req-1", "acme", TRACE, None, {"plan": "gold"})

    assert run.fork("look").result(timeout=PATIENCE_SECONDS)["first"] == {**said, "attempt": 1}


def test_a_run_of_which_nothing_is_said(bench: MeshBench, seen: Seen) -> None:
    seen.worker()
    run = bench.mesh.submit(app.looking)
    nothing = {"request_id": None, "tenant": None, "traceparent": None, "metadata": {}, "attempt": 1}
    assert run.result(timeout=PATIENCE_SECONDS)["first"] == nothing
    assert not run.details().context

    free = bench.mesh.submit(app.looking, metadata={"plan": "free"})
    assert free.result(timeout=PATIENCE_SECONDS)["told"] is None


def test_an_undo_sees_it(bench: MeshBench, seen: Seen) -> None:
    seen.worker()
    run = bench.mesh.submit(app.undoing, request_id="req-9", metadata={"plan": "gold"})
    assert run.wait(timeout=PATIENCE_SECONDS) is RunState.COMPENSATED
    assert seen.lines() == {"fail 1 req-9 gold", "undo:book 1 req-9 gold"}


def test_a_task_that_submits_a_run_passes_its_own_on(bench: MeshBench, seen: Seen) -> None:
    seen.worker()
    run = bench.mesh.submit(app.sending, request_id="req-2", metadata={"plan": "gold"})
    child = bench.mesh.run(run.result(timeout=PATIENCE_SECONDS))
    assert child.result(timeout=PATIENCE_SECONDS)["first"]["metadata"] == {"plan": "gold", "step": "2"}
    assert child.details().context == RunContext("req-2", metadata={"plan": "gold", "step": "2"})


def test_lines_that_a_task_logs_say_what_they_are_about(bench: MeshBench, seen: Seen) -> None:
    worker = seen.worker()
    run = bench.mesh.submit(app.looking, request_id="req-3", id="logged")
    run.result(timeout=PATIENCE_SECONDS)
    about = "info shop: looked run=logged node=look attempt=1 task=tests.integration.context_app:look request_id=req-3"
    worker.process.wait_for(lambda: about in worker.process.output, "the line of a task", PATIENCE_SECONDS)


def test_an_option_that_a_parameter_is_named_like_is_refused(bench: MeshBench) -> None:
    @bench.mesh.flow
    def for_tenant(tenant: str = "nobody") -> object:
        return app.look(tenant)

    with pytest.raises(UsageError, match=r"has a parameter 'tenant'.*submit_params"):
        bench.mesh.submit(for_tenant, tenant="acme")


def test_the_command_line_gives_and_shows_it(shell: Shell) -> None:
    (shell.directory / "speaking_app.py").write_text(SPEAKING_APP)
    (shell.directory / "flow.yaml").write_text(SPEAKING_FLOW)
    said = ("--meta", "plan=gold", "--request-id", "req-1", "--tenant", "acme", "--traceparent", TRACE)
    ran = shell.json("run", "flow.yaml", "-A", "speaking_app", "--id", "said", *said)
    assert ran["result"] == ["gold", "acme"]
    known = {"request_id": "req-1", "tenant": "acme", "traceparent": TRACE, "metadata": {"plan": "gold"}}
    assert shell.json("show", "said")["context"] == known
    shown = shell("show", "said")
    assert "request_id req-1\n" in shown
    assert f"metadata {json.dumps({'plan': 'gold'})}\n" in shown

    skipped = shell.json("run", "flow.yaml", "-A", "speaking_app", "--request-id", "req-0")
    assert skipped["nodes"]["say"]["status"] == "skipped"
    assert "run.request_id = " in skipped["nodes"]["say"]["error"]["message"]
    refused = shell("run", "flow.yaml", "-A", "speaking_app", "--meta", "a b=1", code=2)
    assert "metadata key 'a b' is not allowed" in refused
    (shell.directory / "flow.yaml").write_text(SPEAKING_FLOW.replace("run.metadata.plan", "run.metdata.plan"))
    assert "did you mean 'metadata'?" in shell("validate", "flow.yaml", code=2)
