"""Recorded workflows become flows of the same shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taskmesh.errors import FlowError
from taskmesh.flows import dump_flow, load_flow
from taskmesh.flows.wfcommons import (
    MAX_INPUT_BYTES,
    Replay,
    import_wfcommons,
    import_wfcommons_file,
    node_names,
)
from taskmesh.model.flow import Flow


def recording(*edges: tuple[str, str], seconds: float = 2.0, size: int = 100) -> dict[str, Any]:
    """A document of schema 1.5 whose tasks each write one file."""
    ids = list(dict.fromkeys(name for edge in edges for name in edge))
    return {
        "name": "made up",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {
                        "name": f"name of {each}",
                        "id": each,
                        "parents": [parent for parent, child in edges if child == each],
                        "children": [child for parent, child in edges if parent == each],
                        "inputFiles": [f"{parent}.out" for parent, child in edges if child == each],
                        "outputFiles": [f"{each}.out"],
                    }
                    for each in ids
                ],
                "files": [{"id": f"{each}.out", "sizeInBytes": size} for each in ids],
            },
            "execution": {
                "tasks": [
                    {"id": each, "runtimeInSeconds": seconds, "command": {"program": f"bin/{each}"}} for each in ids
                ]
            },
        },
    }


DIAMOND = (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))


def imported(document: Any, **replay: Any) -> Flow:
    return import_wfcommons(document, "some.json", Replay(**replay))


def args_of(flow: Flow) -> list[Any]:
    return [node.args for node in flow.nodes]


def needs_of(flow: Flow) -> dict[str, set[str]]:
    return {node.name: set(node.needs) for node in flow.nodes}


def tasks_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = document["workflow"]["specification"]["tasks"]
    return tasks


def problem_of(document: Any) -> str:
    with pytest.raises(FlowError) as caught:
        imported(document)
    return str(caught.value)


def test_the_graph_times_and_sizes_are_those_recorded() -> None:
    flow = imported(recording(*DIAMOND), scale=0.01)

    assert flow.name == "made-up"
    assert needs_of(flow) == {"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}
    last = flow.nodes[-1]
    assert last.task == "workers.replay:step"
    assert last.args == {
        "node": "d",
        "program": "bin/d",
        "seconds": 0.02,
        "output_bytes": 100,
        "inputs": {"b": "${nodes.b.output}", "c": "${nodes.c.output}"},
        "input_bytes": {"b": 100, "c": 100},
    }


def test_the_flow_survives_its_yaml() -> None:
    flow = imported(recording(*DIAMOND))

    assert load_flow(dump_flow(flow), "flow.yaml") == flow


@pytest.mark.parametrize("side", ["parents", "children"])
def test_an_edge_may_be_told_at_either_end(side: str) -> None:
    document = recording(*DIAMOND)
    for task in tasks_of(document):
        del task[side]

    assert needs_of(imported(document)) == needs_of(imported(recording(*DIAMOND)))


def test_tasks_may_refer_to_each_other_by_name() -> None:
    document = recording(("a", "b"))
    tasks_of(document)[1]["parents"] = ["name of a"]

    assert needs_of(imported(document)) == {"a": set(), "b": {"a"}}


def test_executions_may_be_keyed_by_name() -> None:
    document = recording(("a", "b"))
    document["workflow"]["execution"]["tasks"] = [{"name": "name of a", "runtime": 3}]

    assert [args["seconds"] for args in args_of(imported(document, scale=1))] == [3.0, 0.0]


def test_the_older_layout_is_read() -> None:
    document = {
        "name": "old",
        "schemaVersion": "1.3",
        "workflow": {
            "makespan": 3,
            "tasks": [
                {
                    "name": "first",
                    "type": "compute",
                    "runtime": 4,
                    "command": {"program": "one"},
                    "parents": [],
                    "children": ["second"],
                    "files": [{"link": "output", "name": "x", "size": 7}, {"link": "input", "name": "y", "size": 9}],
                },
                {"name": "second", "type": "compute", "runtimeInSeconds": 5, "parents": ["first"], "children": []},
            ],
        },
    }

    flow = imported(document, scale=1)
    first, second = args_of(flow)
    assert needs_of(flow) == {"first": set(), "second": {"first"}}
    assert (first["program"], first["seconds"], first["output_bytes"]) == ("one", 4.0, 7)
    assert (second["program"], second["seconds"]) == ("second", 5.0)


def test_what_is_missing_counts_as_nothing() -> None:
    document = recording(("a", "b"))
    del document["workflow"]["execution"]
    del document["workflow"]["specification"]["files"]

    for args in args_of(imported(document)):
        assert (args["seconds"], args["output_bytes"]) == (0.0, 0)


@pytest.mark.parametrize("value", [None, -1, float("nan"), float("inf")])
def test_a_runtime_that_is_no_time_counts_as_nothing(value: float | None) -> None:
    document = recording(("a", "b"))
    document["workflow"]["execution"]["tasks"][0]["runtimeInSeconds"] = value

    assert args_of(imported(document))[0]["seconds"] == 0.0


def test_outputs_are_cut_to_the_limit_of_a_node() -> None:
    first, second = args_of(imported(recording(("a", "b"), size=5_000), max_bytes=1_000))

    assert first["output_bytes"] == 1_000
    assert second["input_bytes"] == {"a": 1_000}


def test_a_wide_join_gets_no_more_than_one_node_can_take() -> None:
    edges = [(f"p{number}", "join") for number in range(1_000)]
    flow = imported(recording(*edges, size=10**9))

    sizes = args_of(flow)[-1]["input_bytes"]
    assert sum(sizes.values()) <= MAX_INPUT_BYTES
    assert sum(sizes.values()) > MAX_INPUT_BYTES * 0.99


def test_dollars_in_a_program_are_no_reference() -> None:
    document = recording(("a", "b"))
    document["workflow"]["execution"]["tasks"][0]["command"]["program"] = "run ${HOME}"

    assert args_of(imported(document))[0]["program"] == "run $${HOME}"


def test_node_names_are_valid_different_and_stable() -> None:
    ids = ["a b", "a_b", "a:b", "1st", "x" * 300, "x" * 300 + "y", "ok-1"]

    names = node_names(ids)
    assert names[:4] == ["a_b_2", "a_b", "a_b_3", "_1st"]
    assert names[-1] == "ok-1"
    assert len(set(names)) == len(ids)
    assert max(map(len, names)) <= 128


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the document must be an object"),
        ({"flow": "x"}, "it has no key 'workflow'"),
        ({"workflow": []}, "workflow must be an object"),
        ({"workflow": {}}, "tasks of the workflow are missing"),
        ({"workflow": {"tasks": []}}, "has no tasks"),
        ({"workflow": {"tasks": [1]}}, "must be an object"),
        ({"workflow": {"tasks": [{"parents": []}]}}, "neither an id nor a name"),
        ({"workflow": {"tasks": [{"id": "a"}, {"id": "a"}]}}, "several tasks have the id 'a'"),
        ({"workflow": {"tasks": [{"id": "a", "parents": ["b"]}]}}, "task 'a' names 'b' among its parents"),
        ({"workflow": {"tasks": [{"id": "a", "parents": "b"}]}}, "parents of task 'a' are no list"),
        ({"workflow": {"tasks": [{"id": "a", "children": ["a"]}]}}, "task 'a' names itself among its children"),
        ({"workflow": {"tasks": [{"id": "a", "runtime": "long"}]}}, "runtime of task 'a' is 'long', not a number"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_sentence(document: Any, said: str) -> None:
    problem = problem_of(document)
    assert problem.startswith("some.json: not a WfCommons workflow: ")
    assert said in problem


def test_a_cycle_is_refused_with_its_path() -> None:
    problem = problem_of(recording(("a", "b"), ("b", "c"), ("c", "a")))
    assert problem.startswith("some.json: ")
    assert "->" in problem


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for path, said in ((broken, "not valid JSON"), (tmp_path / "missing.json", "cannot be read")):
        with pytest.raises(FlowError, match=said) as caught:
            import_wfcommons_file(path, Replay())
        assert str(path) in str(caught.value)


def test_a_file_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "diamond.json"
    path.write_text(json.dumps(recording(*DIAMOND)))

    assert import_wfcommons_file(path, Replay()) == imported(recording(*DIAMOND))
