"""Large values beside tasks: mapped over, given to child runs and by them, submitted, and decided over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from taskmesh import Run, RunFailedError, RunNotFoundError, RunState
from taskmesh.payload.payloads import SHARDS, Payloads
from taskmesh.store.expected_runs import ExpectedRuns
from tests.integration import payload_app as app
from tests.integration.aside_bench import PATIENCE_SECONDS, Aside
from tests.integration.shell import Shell

MEGABYTE = 1024 * 1024

EMBEDDED_APP = """
from taskmesh import Mesh

mesh = Mesh()

@mesh.task
def rows(text: str) -> list[str]:
    return [text[at : at + 4000] for at in range(0, len(text), 4000)]

@mesh.task
def size(text: str) -> int:
    return len(text)

@mesh.flow
def sizes(text: str):
    return size.map(rows(text)).when("size(params.text) > 1")
"""


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _node(run: Run, name: str) -> str:
    return next(node.status for node in run.details(fetch_outputs=False).nodes if node.name == name)


def _runs(place: Payloads) -> list[str]:
    return [run_id for shard in SHARDS for run_id in place.runs(shard)]


def _is_gone(aside: Aside, run_id: str) -> bool:
    try:
        aside.mesh.run(run_id).status()
    except RunNotFoundError:
        return True
    return False


def test_lists_that_were_put_aside_are_mapped_over_and_gathered(brief: Aside) -> None:
    brief.worker()
    mapped, sliced = brief.mesh.submit(app.mapped, count=700), brief.mesh.submit(app.sliced, count=60_000)
    assert mapped.result(timeout=PATIENCE_SECONDS) == [120] * 700
    assert sliced.result(timeout=PATIENCE_SECONDS) == sum(range(60_000))
    stored = {node.name: node for node in mapped.details(fetch_outputs=False).nodes}
    assert "it was put aside" in stored["labels"].output_missing
    assert "it was put aside" in stored["reverse"].output_missing
    # What each item gave was put aside, and all of it together becomes one list.
    inflated = brief.mesh.submit(app.inflated, count=5, size=100_000)
    assert inflated.result(timeout=PATIENCE_SECONDS) == [app.digest_of(app.large(str(at), 100_000)) for at in range(5)]
    brief.wait_for_files(0)


def test_a_child_run_is_given_what_is_large_and_gives_it_back(aside: Aside) -> None:
    aside.worker()
    size = 3 * MEGABYTE
    run = aside.mesh.submit(app.handing, size=size)
    assert run.result(timeout=PATIENCE_SECONDS) == [app.large("produce", size), "first, passed on"]
    shared = aside.mesh.submit(app.sharing, size=60_000, count=4)
    assert shared.result(timeout=PATIENCE_SECONDS) == [59_999 + at for at in range(4)]


def test_iterations_are_given_what_the_one_before_gave(aside: Aside) -> None:
    aside.worker()
    run = aside.mesh.submit(app.growing, size=100_000)
    assert run.result(timeout=PATIENCE_SECONDS) == 3 * sum(range(100_000))
    [loop, _] = run.details(fetch_outputs=False).nodes
    assert "it was put aside" in loop.output_missing


def test_the_result_of_a_child_outlives_it(brief: Aside) -> None:
    brief.worker()
    size = 2 * MEGABYTE
    run = brief.mesh.submit(app.handing_later, size=size)
    _until(lambda: _node(run, "measured") == "succeeded", "the sub-flow has not ended")
    [child] = [node.child for node in run.details(fetch_outputs=False).nodes if node.child]
    _until(lambda: _is_gone(brief, child), "the child is still known")
    # What the first node gave, and what the parent got of its child.
    brief.wait_for_files(2)
    run.signal("go")
    assert run.result(timeout=PATIENCE_SECONDS) == [app.digest_of(app.large("produce", size)), size, "first, passed on"]
    brief.wait_for_files(0)


def test_large_parameters(brief: Aside) -> None:
    data = app.large("given", 3 * MEGABYTE)
    run = brief.mesh.submit(app.given, id="large", data=data, label="mine")
    assert len(brief.files()) == 1
    # The same body is the same run; what was put aside for it again goes with it.
    assert brief.mesh.submit(app.given, id="large", data=data, label="mine").id == run.id
    brief.worker()
    assert run.result(timeout=PATIENCE_SECONDS) == [data, "mine, passed on"]
    fork = run.fork("pass_on", params={"label": "yours"})
    assert fork.result(timeout=PATIENCE_SECONDS) == [data, "yours, passed on"]
    brief.wait_for_files(0)


def test_conditions_and_sleeps_over_what_is_large(aside: Aside) -> None:
    aside.worker()
    data = app.large("given", MEGABYTE)
    run = aside.mesh.submit(app.choosing, data=data)
    assert run.result(timeout=PATIENCE_SECONDS) == [app.digest_of(app.large("seconds", MEGABYTE)), MEGABYTE, "chosen"]
    asked = aside.mesh.submit(app.asking, size=MEGABYTE)
    assert asked.result(timeout=PATIENCE_SECONDS)[1] == MEGABYTE
    too_large = aside.mesh.submit(app.asking, size=5 * MEGABYTE)
    with pytest.raises(RunFailedError, match="has more than 4194304 bytes, which only tasks are given"):
        too_large.result(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize(("damage", "said"), [(None, "is not there any more"), (b"x", "is not what was put there")])
def test_a_list_that_is_missing_or_damaged_fails_its_map(aside: Aside, damage: bytes | None, said: str) -> None:
    aside.worker()
    run = aside.mesh.submit(app.mapped_later, count=700)
    _until(lambda: _node(run, "labels") == "succeeded", "the list is not there")
    [file] = aside.files()
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    run.signal("go")
    with pytest.raises(RunFailedError, match=f"the output of node 'labels': a value of run '{run.id}'.*{said}"):
        run.result(timeout=PATIENCE_SECONDS)


def test_a_missing_parameter_fails_the_node_that_reads_it(aside: Aside) -> None:
    run = aside.mesh.submit(app.given, data=app.large("given", MEGABYTE), label="mine")
    [file] = aside.files()
    file.unlink()
    aside.worker()
    with pytest.raises(RunFailedError, match=r"parameter 'data': a value of run .* is not there any more"):
        run.result(timeout=PATIENCE_SECONDS)


def test_kill_9_of_whoever_hands_on_loses_nothing_and_leaves_nothing(brief: Aside) -> None:
    doomed = brief.worker()
    runs = [brief.mesh.submit(app.handing, size=MEGABYTE + at) for at in range(6)]
    _until(lambda: len(brief.files()) > 6, "nothing was put aside")
    for pid in doomed.children("taskmesh.app.io_process"):
        os.kill(pid, signal.SIGKILL)
    doomed.process.kill9()

    brief.worker()
    for at, run in enumerate(runs):
        assert run.result(timeout=PATIENCE_SECONDS)[0] == app.large("produce", MEGABYTE + at)
    # What was put aside for a child that was never admitted stays for an hour, for nobody knows whether that comes.
    foundation = brief.mesh._working.foundation
    place, expected = foundation.payloads(), ExpectedRuns.of(foundation.store)
    assert place is not None
    _until(lambda: set(left := _runs(place)) == expected.among(left), "something is left of runs that are gone")
    expected.forget(_runs(place))
    brief.wait_for_files(0)


def test_embedded(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.directory / "sizes_app.py").write_text(EMBEDDED_APP)
    text = "x" * 100_000
    monkeypatch.setenv("TASKMESH_PAYLOAD__CLAIM_CHECK_BYTES", "65536")
    ran = shell.json("run", "sizes_app:sizes", "-A", "sizes_app", "-p", f"text={text}", "--id", "large")
    assert ran["result"] == [4000] * 25
    place = shell.directory / ".taskmesh" / "payload"
    assert len([path for path in place.rglob("*") if path.is_file() and path.name != "owner"]) == 2
    monkeypatch.setenv("TASKMESH_PAYLOAD__CLAIM_CHECK_BYTES", "0")
    assert shell.json("show", "large")["status"] == RunState.SUCCEEDED
