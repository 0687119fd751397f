"""The command line where it needs no server: what it accepts, what it prints, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import taskmesh
from taskmesh.cli import checkout, main
from taskmesh.cli.targets import flow_of, flow_to_submit, pairs_of, params_of
from taskmesh.errors import UsageError
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.tasks.registry import Registry
from workers import etl, orders

ROOT = Path(__file__).parents[2]
ORDER = str(ROOT / "configs" / "flows" / "order.yaml")


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file and no data of another directory take part."""
    monkeypatch.chdir(tmp_path)
    for name in ("TASKMESH_BROKER_URL", "TASKMESH_STORE_URL", "TASKMESH_CONFIG", "AMQP_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    code = caught.value.code
    return code if isinstance(code, int) else 0


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_items_are_retried_of_one_run_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    for runs in (("one", "two"), ("--all",)):
        assert run("retry", *runs, "--node", "pick") == 2
        assert "--node is for one run" in capsys.readouterr().err


def test_help_lists_every_command_and_loads_no_client_library() -> None:
    code = (
        "import sys\n"
        "from taskmesh.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('loaded', sorted({'redis', 'pika', 'kombu', 'yaml', 'prometheus_client'} & set(sys.modules)))\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert "loaded []" in output
    shown = {line.split()[1] for line in output.splitlines() if line.startswith("│ ") and line[2].isalpha()}
    assert shown == {
        *("run", "submit", "ls", "show", "watch", "explain", "history"),
        *("worker", "keeper", "dead", "breakers", "flow", "schedule", "plugins", "events"),
        *("pause", "resume", "cancel", "terminate", "retry", "rerun", "fork", "skip", "mark", "compensate"),
        *("signal", "approve", "reject"),
        *("graph", "validate", "import", "config", "bench", "demo", "doctor", "version"),
    }


def test_wrong_usage_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no-such-command") == 2
    assert run("show") == 2
    assert run("ls", "--status", "no-such-status") == 2
    assert capsys.readouterr().out == ""


def test_an_error_of_the_user_is_one_message_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "missing.yaml") == 2

    error = capsys.readouterr().err
    assert error.startswith("taskmesh: missing.yaml cannot be read")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": [NaN]}', "", "{", "[" * 100_000])
def test_what_is_no_json_is_refused_before_anything_is_opened(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("signal", "o-1", "paid", "--payload", text) == 2
    assert run("mark", "o-1", "charge", "--output-json", text) == 2
    assert run("events", "publish", "paid", "--data", text) == 2

    sentences = capsys.readouterr().err.splitlines()
    assert len(sentences) == 3
    assert all("is not JSON: " in each and len(each) < 400 for each in sentences)


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("taskmesh.cli.targets.flow_of", interrupt)
    assert run("graph", ORDER) == 130


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version", "-o", "json") == 0
    assert printed(capsys)["taskmesh"] == taskmesh.__version__


def test_config_show_tells_where_values_come_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKMESH_BROKER_URL", "amqp://somebody:secret@broker.example/")
    monkeypatch.setenv("TASKMESH_STORE_URL", "redis://store.example/0")

    assert run("config", "show", "-o", "json") == 0
    shown = printed(capsys)
    assert "secret" not in json.dumps(shown)
    assert "TASKMESH_BROKER_URL" in shown["broker.url"]["origin"]
    assert shown["worker.threads"]["origin"] == "default"

    assert run("config", "show") == 0
    assert "broker.example" in capsys.readouterr().out


def test_validate_tells_what_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", ORDER, "-A", "workers.orders", "-o", "json") == 0
    assert printed(capsys) == {"valid": True, "flow": "order-fulfilment", "version": "1", "nodes": 4, "edges": 5}


def test_validate_tells_everything_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Path("broken.yaml")
    broken.write_text("flow: x\nnodes:\n  a: {task: workers.orders:reserv, needs: [b]}\n  c: {task: t, needs: [d]}\n")

    assert run("validate", "broken.yaml", "-A", "workers.orders", "-o", "json") == 2
    answer = printed(capsys)
    assert answer["valid"] is False
    assert len(answer["problems"]) >= 3

    assert run("validate", "broken.yaml", "-A", "workers.orders") == 2
    error = capsys.readouterr().err
    assert "did you mean 'workers.orders:reserve'" in error
    assert "broken.yaml:3:" in error


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("text", "  1  reserve  workers.orders:reserve"),
        ("text", "after reserve"),
        ("mermaid", "flowchart LR"),
        ("mermaid", "    n0 --> n1"),
        ("dot", 'digraph "order-fulfilment" {'),
        ("dot", '    "reserve" -> "charge";'),
    ],
)
def test_graphs_are_written_in_several_notations(style: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("graph", ORDER, "--format", style) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--format", "json"), ("-o", "json")])
def test_a_graph_as_json_has_levels(options: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("graph", "workers.orders:order", "-A", "workers.orders", *options) == 0

    nodes = printed(capsys)["nodes"]
    assert {name: node["level"] for name, node in nodes.items()} == {"reserve": 1, "charge": 2, "ship": 3, "notify": 4}
    assert sorted(nodes["ship"]["needs"]) == ["charge", "reserve"]


def test_an_imported_recording_is_a_valid_flow(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [{"id": "a", "children": ["b"], "runtime": 30}, {"id": "b", "parents": ["a"], "runtime": 60}]
    Path("recorded.json").write_text(json.dumps({"name": "tiny", "workflow": {"tasks": tasks}}))

    assert run("import", "wfcommons", "recorded.json", "--scale", "0.1", "-o", "tiny.yaml") == 0
    assert "2 nodes, 1 edges" in capsys.readouterr().out
    assert run("validate", "tiny.yaml", "-A", "workers.replay") == 0
    capsys.readouterr()

    assert run("import", "wfcommons", "recorded.json", "--scale", "0.1") == 0
    assert capsys.readouterr().out == Path("tiny.yaml").read_text()
    assert "seconds: 3.0" in Path("tiny.yaml").read_text()


def test_an_import_that_cannot_be_written_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("recorded.json").write_text(json.dumps({"workflow": {"tasks": [{"id": "a"}]}}))

    assert run("import", "wfcommons", "recorded.json", "-o", "missing/flow.yaml") == 2
    assert "missing/flow.yaml cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["run", "worker"])
def test_commands_that_need_an_app_ask_for_it(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, *([ORDER] if verb == "run" else [])) == 2

    error = capsys.readouterr().err
    assert "is named" in error
    assert ("-A workers.orders" if verb == "run" else "-A MODULE") in error


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("no_such_module", "module 'no_such_module' does not exist"),
        ("workers.orders:nothing", "'nothing' of module 'workers.orders' is no Mesh"),
        ("json", "has no Mesh"),
    ],
)
def test_an_app_that_is_not_found_is_said_in_a_sentence(
    app: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("validate", ORDER, "-A", app) == 2

    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_what_only_a_checkout_has_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkout.taskmesh, "__path__", [str(tmp_path / "site-packages" / "taskmesh")])
    for verb in ("demo", "bench"):
        assert run(verb) == 2
        assert "run it in a checkout of taskmesh" in capsys.readouterr().err


def test_bench_hands_its_options_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "scripts" / "bench"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    script.chmod(0o755)

    assert run("bench", "--only", "chain", "-o", "json", "--help") == 7
    assert capfd.readouterr().out == "--only chain -o json --help\n"


def registry() -> Registry:
    known = Registry()
    for app in (orders, etl):
        for task in app.mesh.registry:
            known.add(task)
    return known


def test_a_target_is_a_file_a_task_or_a_python_flow() -> None:
    known = registry()

    assert flow_of(ORDER, known, must_be_known=True).name == "order-fulfilment"
    assert flow_of("workers.etl:etl", known, must_be_known=True).name == "etl"
    single = flow_of("workers.orders:reserve", known, must_be_known=True)
    assert [node.task for node in single.nodes] == ["workers.orders:reserve"]


def test_a_target_that_is_nothing_gets_a_hint() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'workers.orders:reserve'"):
        flow_of("workers.orders:reserv", registry(), must_be_known=False)
    with pytest.raises(UsageError, match=r"did you mean 'workers.orders:order'"):
        flow_of("workers.orders:ordr", registry(), must_be_known=False)


@pytest.mark.parametrize("must_be_known", [True, False])
def test_a_name_needs_an_app(must_be_known: bool) -> None:
    with pytest.raises(UsageError, match=r"add -A some\.app"):
        flow_of("some.app:task", Registry(), must_be_known)


@pytest.mark.parametrize("target", ["shop.py", "workers.orders"])
def test_code_is_no_flow_file(target: str) -> None:
    with pytest.raises(UsageError, match=r"is code, not a flow file; name a task or a flow in it"):
        flow_of(target, registry(), must_be_known=True)


def test_without_an_app_any_task_may_be_submitted() -> None:
    assert flow_to_submit("some.app:task", Registry()).nodes[0].task == "some.app:task"
    assert flow_to_submit(ORDER, Registry()).name == "order-fulfilment"
    assert flow_to_submit("workers.etl:etl", registry()).name == "etl"


def test_a_task_on_its_own_takes_what_its_function_takes() -> None:
    known = registry()
    single = flow_of("workers.orders:reserve", known, must_be_known=True)

    assert params_of(["order_id=o-1"], single, known) == {"order_id": "o-1"}
    with pytest.raises(UsageError, match=r"is missing the argument\(s\) 'order_id'"):
        params_of([], single, known)
    with pytest.raises(UsageError, match=r"takes no argument 'amount'"):
        params_of(["order_id=o-1", "amount=1"], single, known)


def test_params_are_json_unless_text_is_declared() -> None:
    flow = Flow("f", "1", (Node("a", "t"),), (Param("text", ParamType.STRING), Param("count", ParamType.INTEGER)))

    given = ["text=12", "count=12", "list=[1, 2]", "plain=o-1", "empty=", "equals=a=b", "nan=NaN", "null=null"]
    assert params_of(given, flow, Registry()) == {
        "text": "12",
        "count": 12,
        "list": [1, 2],
        "plain": "o-1",
        "empty": "",
        "equals": "a=b",
        "nan": "NaN",
        "null": None,
    }


@pytest.mark.parametrize("pair", ["x", "=1", ""])
def test_a_pair_without_a_name_or_value_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="write -p NAME=VALUE"):
        pairs_of([pair], "-p")


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--tag x is given twice"):
        pairs_of(["x=1", "x=2"], "--tag")
