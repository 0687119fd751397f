"""Schedules on real servers: keepers begin runs, die while they do, and each tick is one run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from taskmesh import Mesh, RunState, ScheduleDetails
from taskmesh.store.keys import Keys
from taskmesh.store.link import Command
from taskmesh.store.opening import open_link
from tests.harness.processes import Processes
from tests.integration import engine_app as app
from tests.integration.mesh_bench import MeshBench, Worker, kill9

PATIENCE_SECONDS = 90.0
NOT_KEEPING = {"TASKMESH_WORKER__KEEPER": "false"}
KEEPER_PROCESS = "taskmesh.app.keeper_process"
PARTITIONS = 16
MANY = 120
AHEAD_SECONDS = 15
"""Long enough for all of them to be put, also on a busy machine."""


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE_SECONDS:g} s"
        time.sleep(0.05)


def _started(found: ScheduleDetails) -> list[str]:
    return [run.run_id for run in found.record.started if run.state == "started"]


def test_each_of_many_that_are_due_at_once_begins_once_while_two_keepers_are_killed_in_turn(bench: MeshBench) -> None:
    doomed = [bench.keeper(), bench.keeper()]
    bench.keeper()
    bench.worker(env=NOT_KEEPING)
    at = datetime.now(UTC) + timedelta(seconds=AHEAD_SECONDS)
    for number in range(MANY):
        bench.mesh.schedule(app.echo, id=f"once-{number}", at=at, params={"value": number})
    box = bench.mesh.schedules
    _await(lambda: any(_started(each) for each in box.ls()), "run that began")
    for each in doomed:
        _kill(each)
        _leave_locked(bench)
    _await(lambda: all(_started(each) for each in box.ls()), "begin of all runs")
    found = box.ls()
    runs = [run_id for each in found for run_id in _started(each)]
    assert len(found) == len(runs) == len(set(runs)) == MANY
    assert all(each.record.passed == [] and each.next_tick is None for each in found)
    assert all(bench.mesh.run(run_id).wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED for run_id in runs)
    assert max(bench.times_run("echo").values()) == 1


def _kill(keeper: Worker) -> None:
    """All of its processes at once."""
    children = keeper.children(KEEPER_PROCESS)
    keeper.process.kill9()
    for pid in children:
        kill9(pid)


def _leave_locked(bench: MeshBench) -> None:
    """Let no lock end that a keeper has now: so nobody can wait for the end of one. Those that live go on renewing."""
    with closing(open_link(bench.environ["TASKMESH_STORE_URL"], 2.0, 5.0)) as link:
        keys = Keys(bench.environ["TASKMESH_NAMESPACE"], PARTITIONS)
        locks = [each.keeper for each in keys.partitions]
        far = time.time() + 3600
        link.exchange([Command(lock, "HSET", lock, "until", repr(far)) for lock in locks])


def test_an_overlap_waits_for_the_end_of_the_run_and_tells_what_it_skips(bench: MeshBench) -> None:
    bench.worker()
    made = bench.mesh.schedule(app.nap, id="naps", every_seconds=1, params={"seconds": 2.5}, overlap="buffer_one")
    box = bench.mesh.schedules
    _await(lambda: len(_started(box.get("naps"))) >= 3, "third run")
    box.pause("naps", "that is enough")
    found = box.get("naps")
    assert made.schedule == found.schedule
    assert {each.why for each in found.record.passed} <= {"ticks waited already: 1", "the schedule was paused"}
    assert found.record.counts["skipped"] >= 2
    assert found.record.paused is not None
    runs = [bench.mesh.run(run_id) for run_id in reversed(_started(found))]
    assert all(run.wait(timeout=PATIENCE_SECONDS) is RunState.SUCCEEDED for run in runs)
    details = [run.details() for run in runs]
    assert all(
        earlier.finished_at is not None and earlier.finished_at <= later.submitted_at
        for earlier, later in pairwise(details)
    )


def test_a_flow_is_told_its_tick_and_a_trigger_and_a_backfill_run(bench: MeshBench) -> None:
    bench.worker()
    bench.mesh.schedule(
        app.echo,
        id="hourly",
        cron="0 0 * * * *",
        zone="Europe/Paris",
        params={"value": "${schedule.id} ${schedule.time}"},
    )
    box = bench.mesh.schedules
    run = bench.mesh.run(box.trigger("hourly"))
    assert run.result(timeout=PATIENCE_SECONDS).startswith("hourly 20")
    ticks = box.backfill("hourly", "2026-03-29T00:30", "2026-03-29T04:30", max_active=2)
    assert [tick.hour for tick in ticks] == [1, 3, 4], "that night has no hour two"
    _await(lambda: sum(run.kind == "backfill" for run in box.get("hourly").record.started) == 3, "end of the backfill")
    [last] = [run_id for run_id in _started(box.get("hourly")) if run_id.startswith("hourly@20260329T020000Z")]
    assert bench.mesh.run(last).result(timeout=PATIENCE_SECONDS) == "hourly 2026-03-29T04:00:00+02:00"
    assert box.backfill("hourly", "2026-03-29T00:30", "2026-03-29T04:30", reverse=True, dry_run=True) == ticks[::-1]


def test_embedded_schedules_run_without_servers(tmp_path: Path) -> None:
    mesh = Mesh(embedded={"directory": str(tmp_path / "data")})

    @mesh.task
    def tell(when: str) -> str:
        return when

    mesh.schedule(tell, id="each", every_seconds=1, params={"when": "${schedule.time}"})
    try:
        with mesh.local_worker():
            _await(lambda: len(_started(mesh.schedules.get("each"))) >= 2, "second run")
            run_id = _started(mesh.schedules.get("each"))[-1]
            result = mesh.run(run_id).result(timeout=PATIENCE_SECONDS)
        assert run_id == f"each@{datetime.fromisoformat(result):%Y%m%dT%H%M%SZ}"
    finally:
        mesh.close()


SHOP = """
from taskmesh import Mesh
mesh = Mesh()

@mesh.task
def hello(when: str) -> str:
    return when
"""
FLOW = """
flow: greeting
params: {when: string}
nodes: {hello: {task: "shop:hello", args: {when: "${params.when}"}}}
"""
FILE = """
schedules:
  nightly: {flow: greeting.yaml, cron: "0 0 3 * * *", zone: Europe/Paris, params: {when: "${schedule.time}"}}
  often: {flow: "shop:hello", every: 15m, params: {when: "${schedule.time}"}, jitter: 30s, overlap: allow_all}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, text in (("shop.py", SHOP), ("greeting.yaml", FLOW), ("schedules.yaml", FILE)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_schedules_on_the_command_line(shop: Path, child_processes: Processes) -> None:
    def told(*words: str, code: int = 0) -> str:
        process = child_processes.start([sys.executable, "-m", "taskmesh", "schedule", *words], cwd=shop)
        assert process.wait(PATIENCE_SECONDS) == code, process.output
        return process.output

    assert told("apply", "schedules.yaml", "-A", "shop") == "put nightly\nput often\n"
    assert told("apply", "schedules.yaml", "-A", "shop") == "unchanged nightly\nunchanged often\n"
    told("add", "more", "greeting.yaml", "--every", "10", "-p", "when=${schedule.time}", "--tag", "team=a")
    listed = json.loads(told("ls", "-o", "json"))
    assert [(each["id"], each["flow"], each["overlap"]) for each in listed] == [
        ("more", "greeting", "skip"),
        ("nightly", "greeting", "skip"),
        ("often", "shop:hello", "allow_all"),
    ]
    told("pause", "nightly", "--reason", "the moon is full")
    shown = json.loads(told("show", "nightly", "-o", "json"))
    assert shown["paused"]["why"] == "the moon is full"
    assert len(shown["next_ticks"]) == 3
    told("resume", "nightly")
    assert len(told("next", "nightly", "--count", "4").split()) == 4
    run_id = told("trigger", "nightly").strip()
    assert json.loads(told("show", "nightly", "-o", "json"))["runs"][0]["run_id"] == run_id
    range_ = ("--from", "2026-10-24T00:00", "--to", "2026-10-26T00:00")
    dry = json.loads(told("backfill", "nightly", *range_, "--dry-run", "-o", "json"))
    assert dry["ticks"] == ["2026-10-24T03:00:00+02:00", "2026-10-25T03:00:00+01:00"]
    told("backfill", "nightly", *range_)
    assert "2 past ticks" in told("show", "nightly")
    told("rm", "more")
    assert "did you mean 'nightly'" in told("show", "nigtly", code=2)
    assert "is no cron line" in told("add", "more", "greeting.yaml", "--cron", "soon", "-p", "when=x", code=2)
