"""Maps and loops over nodes of a node type, in both faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskmesh import Mesh, Retry, load_flow
from taskmesh.errors import FlowError, NodeConfigError, UsageError
from taskmesh.flows.dumping import dump_flow
from taskmesh.model.flow import ALL_PARAMS, Flow
from taskmesh.model.loops import Loop
from taskmesh.model.mapping import Map
from taskmesh.wire.flows import decode_flow, encode_flow
from tests.unit.test_plugins import Echo, registry_with


@pytest.fixture
def mesh() -> Mesh:
    made = Mesh()
    made.registry = registry_with(Echo)
    made.task(name="w:take")(_take)
    return made


def _take(item: Any, at: int = 0) -> Any:
    return item


def _flow(mesh: Mesh, describe: Callable[[Any], Any]) -> Flow:
    def flow(texts: list) -> Any:  # type: ignore[type-arg]
        return describe(texts)

    return mesh.flow(name="f")(flow).compile()


def _file(mesh: Mesh, node: str) -> Flow:
    return load_flow(f"flow: f\nparams: {{texts: array}}\nnodes:\n  a: {node}\n", "f.yaml", mesh.registry)


def _said_alike(mesh: Mesh, describe: Callable[[Any], Any], node: str) -> Flow:
    """The flow that a function and a file describe; its result is left out, which a function always says."""
    in_python, in_file = _flow(mesh, describe), _file(mesh, node)
    assert in_python.nodes == in_file.nodes
    for flow in (in_python, in_file):
        assert decode_flow(encode_flow(flow)) == flow
        assert load_flow(dump_flow(flow), "again.yaml", mesh.registry) == flow
    return in_file


def test_a_node_type_is_mapped_alike_in_both_faces(mesh: Mesh) -> None:
    echo = mesh.node_type("echo", retry=Retry(max_attempts=4))
    flow = _said_alike(
        mesh,
        lambda texts: echo.map(texts, text=mesh.item["t"], times=mesh.index).max_in_flight(2).named("a"),
        "{map: '${params.texts}', type: echo, with: {text: '${item.t}', times: '${index}'}, max_in_flight: 2, "
        "retry: {max_attempts: 4}}",
    )
    step = flow.nodes[0].step
    assert isinstance(step, Map)
    assert (step.body.task, step.body.retry) == ("@echo", Retry(max_attempts=4).policy)


def test_names_with_lists_are_entries_of_the_config(mesh: Mesh) -> None:
    _said_alike(
        mesh,
        lambda texts: mesh.node_type("echo").map({"text": texts, "mode": ["up", "down"]}).named("a"),
        "{map: {text: '${params.texts}', mode: [up, down]}, type: echo, "
        "with: {text: '${item.text}', mode: '${item.mode}'}}",
    )


def test_a_task_gets_parts_of_its_item_where_these_are_named(mesh: Mesh) -> None:
    take = mesh.registry.find("w:take")
    assert take is not None
    _said_alike(
        mesh,
        lambda texts: take.map(texts, item=[mesh.item["x"]], at=mesh.index).named("a"),
        "{map: '${params.texts}', task: 'w:take', args: {item: ['${item.x}'], at: '${index}'}}",
    )


@pytest.mark.parametrize(
    ("describe", "error", "words"),
    [
        (lambda mesh, texts: mesh.node_type("echo").map(texts), UsageError, "nothing says what 'echo' does with each"),
        (
            lambda mesh, texts: mesh.node_type("echo").map(texts, text=mesh.item, tex=1),
            NodeConfigError,
            "tex is no key",
        ),
        (lambda mesh, texts: mesh.node_type("ecko").map(texts, text=mesh.item), UsageError, "did you mean 'echo'"),
        (lambda mesh, texts: mesh.node_type("echo")(text=mesh.item), FlowError, r"'\$\{item\}' is not a reference"),
        (lambda mesh, texts: mesh.index["x"], UsageError, "mesh.index is a number"),
        (
            lambda mesh, texts: mesh.repeat(mesh.node_type("echo"), {"tex": 1}, until="true", max_iterations=2),
            NodeConfigError,
            "tex is no key",
        ),
    ],
)
def test_what_is_wrong_is_said_at_once(mesh: Mesh, describe: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        _flow(mesh, lambda texts: describe(mesh, texts))


@pytest.mark.parametrize("name", ["item", "index"])
def test_there_is_an_item_only_in_a_flow(mesh: Mesh, name: str) -> None:
    with pytest.raises(UsageError, match=f"mesh.{name} is for functions with @mesh.flow"):
        getattr(mesh, name)


def test_a_node_type_is_repeated_alike_in_both_faces(mesh: Mesh) -> None:
    in_python = _flow(
        mesh,
        lambda texts: mesh.repeat(
            *(mesh.node_type("echo"), {"text": texts[0]}),
            until="output[0].times > 2",
            max_iterations=5,
            count_as="times",
        ).named("a"),
    )
    in_file = _file(
        mesh,
        "{repeat_until: 'output[0].times > 2', max_iterations: 5, type: echo, with: {text: '${params.texts.0}'}, "
        "count_as: times}",
    )
    for flow in (in_python, in_file):
        [node] = flow.nodes
        assert isinstance(node.step, Loop)
        assert node.args == {"text": "${params.texts.0}"}
        assert node.step.body is not None
        assert (node.step.body.task, node.step.body.args) == ("@echo", ALL_PARAMS)
        assert decode_flow(encode_flow(flow)) == flow
        assert load_flow(dump_flow(flow), "again.yaml", mesh.registry) == flow


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("{repeat_until: 'true', max_iterations: 2, type: echo, with: {tex: ab}}", "tex is no key of this type"),
        ("{repeat_until: 'true', max_iterations: 2, type: echo, with: {text: a}}", "text"),
        (
            "{repeat_until: 'true', max_iterations: 2, type: echo, with: {text: ab}, last_as: before}",
            "before is no key",
        ),
        ("{repeat_until: 'true', max_iterations: 2, type: ecko, with: {text: ab}}", "did you mean 'echo'"),
        ("{repeat_until: 'true', max_iterations: 2, type: echo, args: {text: ab}}", "'args' and 'type' do not go"),
        ("{repeat_until: 'true', max_iterations: 2, type: echo, task: t}", "either a 'task', a 'type' or a 'flow'"),
        ("{repeat_until: 'true', max_iterations: 2, type: echo, with: '${params}'}", "with of a loop must map names"),
        ("{repeat_until: 'true', max_iterations: 2, task: 'w:take', with: {item: 1}}", "'with' needs a 'type'"),
        ("{repeat_until: 'true', max_iterations: 2, task: 'w:take', args: {itm: 1}}", "did you mean 'item'"),
        ("{repeat_until: 'true', max_iterations: 2, task: 'w:take'}", "also needs the argument 'item'"),
        ("{map: [1], type: echo, with: {text: '${item}', tex: 1}}", "tex is no key of this type"),
        ("{map: [1], type: echo, with: {text: '${item}', times: 0}}", "times"),
        ("{map: [1], type: echo, with: '${params}'}", "with of a map must name what each argument is"),
        ("{type: echo, with: '${params}'}", "texts is no key of this type"),
    ],
)
def test_what_a_file_says_wrongly_is_said(mesh: Mesh, node: str, words: str) -> None:
    with pytest.raises(FlowError, match=words.replace("$", r"\$")):
        _file(mesh, node)


@pytest.mark.parametrize(
    ("said", "given", "turn", "is_told"),
    [
        ("task: 'w:take', last_as: item", (), 0, True),
        ("task: 'w:take', last_as: item", ("item",), 0, False),
        ("task: 'w:take', last_as: item", ("item",), 2, True),
        ("task: 'w:take', args: {item: 1}", (), 2, False),
        ("type: echo, with: {text: ab}, last_as: more", (), 0, False),
        ("type: echo, with: {text: ab}, last_as: more", (), 1, True),
    ],
)
def test_an_iteration_is_told_of_the_one_before(
    mesh: Mesh, said: str, given: tuple[str, ...], turn: int, is_told: bool
) -> None:
    step = _file(mesh, f"{{repeat_until: 'true', max_iterations: 5, {said}}}").nodes[0].step
    assert isinstance(step, Loop)
    assert step.tells_last(given, turn) is is_told
