"""Schedule files: read as a whole, or refused with every problem at its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskmesh.errors import FlowError
from taskmesh.flows import load_flow_file
from taskmesh.flows.fields import SCHEDULE_KEYS
from taskmesh.flows.schedule_schema import schedule_schema, schedule_schema_text
from taskmesh.flows.schedules import load_schedule_file, load_schedules
from taskmesh.model.params import check_params
from taskmesh.model.schedules.schedule import CatchUp, Overlap, Schedule, When

ROOT = Path(__file__).parents[2]

WHOLE = """
schedules:
  nightly:
    flow: report.yaml
    cron: "0 0 3 * * *"
    zone: Europe/Paris
    params: {day: "${schedule.time}"}
    overlap: buffer_all
    catch_up: all
    catch_up_window: 2h
    jitter: 30s
    tags: {team: a}
    deadline: 1h
  poll: {flow: "shop:poll", every: 90}
  once: {flow: "shop:poll", at: 2026-07-01T12:00:00, zone: Europe/Paris}
"""


def test_everything_that_a_file_may_say() -> None:
    nightly, poll, once = load_schedules(WHOLE, "s.yaml")
    assert nightly.flow == "report.yaml"
    assert nightly.schedule == Schedule(
        "nightly",
        When(cron="0 0 3 * * *", zone="Europe/Paris"),
        {"day": "${schedule.time}"},
        Overlap.BUFFER_ALL,
        CatchUp.ALL,
        7200.0,
        30.0,
        {"team": "a"},
        3600.0,
    )
    assert poll.schedule.when == When(every_seconds=90.0)
    assert once.schedule.when == When(at=1_782_900_000.0, zone="Europe/Paris")


def test_json_is_read_as_well() -> None:
    text = json.dumps({"schedules": {"poll": {"flow": "shop:poll", "every": "15s"}}})
    [draft] = load_schedules(text, "s.json")
    assert draft.schedule.when.every_seconds == 15.0


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("a: {flow: f, cron: '* * * * *', overlap: skipp}", "3:44: overlap must be one of skip, "),
        ("a: {flow: f, cron: '* * * * *', overlap: skipp}", "did you mean 'skip'?"),
        (
            "a: {flow: f, cron: '* * * * *', catch_up: 1}",
            "3:45: catch_up must be one of all, one, none, not '1' (integer)",
        ),
        ("a: {flow: f, every: soon}", "3:23: every must be a number of seconds"),
        ("a: {flow: f, every: 0.1}", "3:23: every must be at least 1 seconds"),
        ("a: {flow: f, evry: 3s}", "3:16: there is no key 'evry' here; did you mean 'every'?"),
        ("a: {cron: '* * * * *'}", "3:6: the key 'flow' is missing"),
        ("a: {flow: f}", "3:6: give one of cron, every and at"),
        ("a: {flow: f, cron: 3}", "3:22: cron must be a text, not '3' (integer)"),
        ("a: {flow: f, cron: soon}", "is no cron line"),
        ("a: {flow: f, every: 3s, zone: Mars/X}", "there is no time zone 'Mars/X'"),
        ("a: {flow: f, at: soon}", "3:20: 'soon' is no moment"),
        ("a: {flow: f, every: 3s, params: {x: '${params.y}'}}", "'${params.y}' is not a reference"),
        ("a: {flow: f, every: 3s, params: 4}", "params must be a mapping"),
        ("a: {flow: f, every: 3s, tags: {x: 4}}", "a tag must be a text"),
        ("a: nothing", "3:6: a schedule must be a mapping"),
        ("'two words': {flow: f, every: 3s}", "3:3: id must start with a letter or digit"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(line: str, finding: str) -> None:
    with pytest.raises(FlowError) as raised:
        load_schedules(f"schedules:\n  # one\n  {line}\n", "s.yaml")
    assert any(finding in problem for problem in raised.value.problems), raised.value.problems
    assert all(problem.startswith("s.yaml:3:") for problem in raised.value.problems)


@pytest.mark.parametrize("text", ["", "[]", "schedules: 3", "{}", "schedules: {}\nmore: 1", "a: b: c"])
def test_what_is_no_schedule_file(text: str) -> None:
    with pytest.raises(FlowError):
        load_schedules(text, "s.yaml")


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        "schedules:\n  a: {every: 0.1, flow: f}\n  b: {flow: f, jitters: 1}\n  c: {flow: f, every: 1s, overlap: no}\n"
    )
    with pytest.raises(FlowError) as raised:
        load_schedules(text, "s.yaml")
    assert [problem.split(":")[1] for problem in raised.value.problems] == ["2", "3", "4"]


def test_a_flow_file_is_looked_for_beside_the_schedule_file(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("schedules:\n  a: {flow: f.yaml, every: 1s}\n  b: {flow: 'shop:f', every: 1s}\n")
    assert [draft.flow for draft in load_schedule_file(tmp_path / "s.yaml")] == [str(tmp_path / "f.yaml"), "shop:f"]


def test_the_published_schema_is_the_one_that_the_reader_is_made_from() -> None:
    published = (ROOT / "configs" / "schedules.schema.json").read_text(encoding="utf-8")
    assert published == schedule_schema_text(), (
        "run: python -m taskmesh.flows schedules > configs/schedules.schema.json"
    )
    assert tuple(schedule_schema()["$defs"]["schedule"]["properties"]) == SCHEDULE_KEYS


def test_the_example_fits_its_flow() -> None:
    [draft] = load_schedule_file(ROOT / "configs" / "schedules.yaml")
    check_params(load_flow_file(draft.flow), draft.schedule.params_at(0))


def test_a_flow_is_a_file_beside_the_schedules_or_a_name(tmp_path: Path) -> None:
    (tmp_path / "order").write_text("flow: order")
    names = {"a": "report.yaml", "b": "shop:poll", "c": "report@3", "d": "order"}
    document = {"schedules": {each: {"flow": flow, "every": 60} for each, flow in names.items()}}
    (tmp_path / "schedules.json").write_text(json.dumps(document))
    found = [draft.flow for draft in load_schedule_file(tmp_path / "schedules.json")]
    assert found == [str(tmp_path / "report.yaml"), "shop:poll", "report@3", str(tmp_path / "order")]
