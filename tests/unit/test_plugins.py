"""Node types: found, checked, refused; their nodes in flows of both faces."""

from __future__ import annotations

import asyncio
import importlib.metadata
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskmesh import Mesh, Retry, Settings, load_flow
from taskmesh.app import flow_process
from taskmesh.config.settings import PluginsSection
from taskmesh.errors import FlowError, NodeConfigError, UsageError
from taskmesh.flows.dumping import dump_flow
from taskmesh.model.flow import Flow, Node, Param, ParamType
from taskmesh.model.node_types import UNKNOWN, foreseen
from taskmesh.model.validation import check
from taskmesh.plugins import sources
from taskmesh.plugins.catalog import NodeTypes, may_be_any
from taskmesh.plugins.config_schema import ConfigSchema
from taskmesh.plugins.interface import ENTRY_POINT_GROUP, NodeContext, NodeType
from taskmesh.plugins.loading import Candidate, Plugin, PluginState, load_plugins
from taskmesh.tasks.registry import Registry
from taskmesh.wire.flows import decode_flow, encode_flow
from tests.harness.node_context import OneNode

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "minLength": 2},
        "times": {"type": "integer", "minimum": 1},
        "mode": {"enum": ["up", "down"]},
        "more": {"type": "object", "additionalProperties": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    },
    "required": ["text"],
    "additionalProperties": False,
}


class Echo:
    """A node type that is right in everything."""

    name: str = "echo"
    interface: int = 1
    schema = SCHEMA

    def validate(self, config: dict[str, Any]) -> Iterable[str]:
        if config["text"] == "forbidden":
            yield "text must not be that"

    def execute(self, config: dict[str, Any], context: NodeContext) -> Any:
        return [config, context.node]


def changed(**attributes: Any) -> type:
    """The right one with something else in it; None takes away."""
    made = type("Changed", (Echo,), {})
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def loaded(*made: Any, off: Iterable[str] = ()) -> list[Plugin]:
    return list(
        load_plugins([Candidate("echo", f"origin {place}", lambda it=it: it) for place, it in enumerate(made)], off)
    )


def registry_with(*made: Any) -> Registry:
    types = NodeTypes(Settings)
    types.__dict__["plugins"] = tuple(loaded(*made))
    return Registry(types)


def test_a_class_and_an_object_are_taken_as_they_are() -> None:
    typed: NodeType = Echo()
    for made in (Echo, typed):
        [plugin] = loaded(made)
        assert (plugin.state, plugin.reason, plugin.origin) == (PluginState.ON, "", "origin 0")
        assert plugin.task is not None
        assert plugin.task.name == "@echo"


async def _later(self: Any, config: Any, context: Any = None) -> None: ...


def _raises(self: Any) -> None:
    raise SystemExit("no licence")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (changed(interface=2), "written for interface version 2; this taskmesh has version 1"),
        (changed(interface="1"), "interface version '1'"),
        (changed(name="other"), "calls itself 'other', but was declared as 'echo'"),
        (changed(execute=None), r"has no method execute\(\)"),
        (changed(validate=7), r"has no method validate\(\)"),
        (changed(execute=_later), r"execute\(\) must be a plain function, not async"),
        (changed(schema={"type": "string"}), "must be a mapping with type: object"),
        (changed(schema=None), "must be a mapping with type: object"),
        (
            changed(schema={"type": "object", "properties": {"a": {"type": "text"}}}),
            "no JSON Schema: at properties/a/type",
        ),
        (changed(schema={"type": "object", "properties": 7}), "no JSON Schema"),
        (changed(schema={"type": "object", "properties": {"a": {"pattern": "("}}}), "no JSON Schema"),
        (changed(schema={"type": "object", "$ref": "http://127.0.0.1/x"}), "refers to 'http://127.0.0.1/x'"),
        (
            changed(schema={"type": "object", "allOf": [{"$ref": "file:///etc/passwd"}]}),
            "refers to 'file:///etc/passwd'",
        ),
        (changed(schema={"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"}), "refers to"),
        (changed(schema={"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}), "refers to '#/\\$defs/b'"),
        (changed(__init__=_raises), "cannot be loaded: SystemExit: no licence"),
        (type("Nothing", (), {}), "has no 'interface'"),
        (None, "has no 'interface'"),
        (lambda: 1, "has no 'interface'"),
    ],
)
def test_one_that_does_not_fit_is_refused_with_the_reason(made: Any, reason: str) -> None:
    [plugin] = loaded(made)

    assert plugin.state is PluginState.REFUSED
    assert plugin.task is None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(plugin.reason)


def test_an_import_that_fails_is_a_reason() -> None:
    def broken() -> Any:
        raise ImportError("no module named nothing")

    [plugin] = load_plugins([Candidate("echo", "x", broken)], ())
    assert plugin.state is PluginState.REFUSED
    assert "ImportError: no module named nothing" in plugin.reason


def test_a_name_has_one_owner_the_first() -> None:
    first, second = loaded(Echo, Echo)

    assert first.state is PluginState.ON
    assert (second.state, second.reason) == (PluginState.REFUSED, "the name is taken by origin 0")


def test_one_origin_gives_a_name_once() -> None:
    twice = [Candidate("echo", "package x 1.0", lambda: Echo)] * 2
    assert [each.state for each in load_plugins(twice, ())] == [PluginState.ON, PluginState.REFUSED]


def test_a_refused_one_still_owns_its_name() -> None:
    first, second = loaded(changed(interface=9), Echo)
    assert (first.state, second.state) == (PluginState.REFUSED, PluginState.REFUSED)


def test_the_built_in_names_cannot_be_taken() -> None:
    types = NodeTypes(lambda: Settings(plugins=PluginsSection(http_hosts=("a",), off=("publish",))))
    assert [(each.name, str(each.state)) for each in types.plugins[:4]] == [
        ("http", "on"),
        ("shell", "off"),
        ("python", "off"),
        ("publish", "off"),
    ]


def test_what_is_off_is_not_imported() -> None:
    def never() -> Any:
        raise AssertionError

    [plugin] = load_plugins([Candidate("echo", "x", never)], ("echo",))
    assert (plugin.state, plugin.reason) == (PluginState.OFF, "plugins.off names it")


def test_by_default_nothing_that_is_built_in_may_do_anything() -> None:
    types = NodeTypes(Settings)
    assert types.executable(OneNode) == {}
    assert {each.name for each in types.plugins if each.origin == "built in"} == {"http", "shell", "python", "publish"}
    assert types.reason_off("http") == "plugins.http_hosts allows no host"


def test_a_type_that_cannot_keep_its_limits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskmesh.plugins.builtin.PythonNode.lacking", lambda: "no filters")
    types = NodeTypes(lambda: Settings(plugins=PluginsSection(python=True)))
    [python] = [each for each in types.plugins if each.name == "python"]
    assert (python.state, python.reason) == (PluginState.REFUSED, "no filters")


class TestManifest:
    @pytest.fixture
    def found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Plugin]]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))

        def find(text: str) -> list[Plugin]:
            (tmp_path / "types.toml").write_text(textwrap.dedent(text))
            return list(load_plugins(sources.declared("types.toml"), ()))

        return find

    def test_names_a_class_of_a_module(self, found: Callable[[str], list[Plugin]], tmp_path: Path) -> None:
        (tmp_path / "my_types.py").write_text("from tests.unit.test_plugins import Echo\n")
        [plugin] = found('[types.echo]\nmodule = "my_types"\nclass = "Echo"\n')
        assert (plugin.state, plugin.origin) == (PluginState.ON, "manifest types.toml")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("x", "is not TOML"),
            ("", "must hold tables"),
            ("[types]\n[other]\n", "must hold tables"),
            ("types = 1", "must hold tables"),
            ('[types.echo]\nmodule = "a"\n', "write [types.echo] with a module and a class"),
            ('[types.echo]\nmodule = "a"\nclass = 1\n', "write [types.echo]"),
            ('[types.echo]\nmodule = "a"\nclass = "B"\nother = 1\n', "write [types.echo]"),
            ('[types]\necho = "a:B"\n', "write [types.echo]"),
            ('[types.echo]\nmodule = "no_such_module_here"\nclass = "B"\n', "ModuleNotFoundError"),
            ('[types.echo]\nmodule = "json"\nclass = "Nothing"\n', "AttributeError"),
        ],
    )
    def test_that_is_wrong_says_why(self, found: Callable[[str], list[Plugin]], text: str, reason: str) -> None:
        [plugin] = found(text)
        assert plugin.state is PluginState.REFUSED
        assert reason in plugin.reason

    def test_that_is_not_there_says_so(self) -> None:
        [plugin] = load_plugins(sources.declared("nowhere.toml"), ())
        assert "cannot be read: No such file" in plugin.reason


class Point:
    """An entry point."""

    def __init__(self, name: str, package: str) -> None:
        self.name, self.value = name, "module:Class"
        self.dist = type("Dist", (), {"name": package, "version": "1.0"})

    def load(self) -> Any:
        return changed(name=self.name)


def test_installed_types_come_in_one_order_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point("b", "z"), Point("a", "y"), Point("a", "x"), Point("http", "x")]
    monkeypatch.setattr(sources, "entry_points", lambda group: points if group == "taskmesh.node_types" else [])

    found = [each for each in NodeTypes(Settings).plugins if each.origin.startswith("package")]
    assert [(each.name, each.origin, each.reason) for each in found] == [
        ("a", "package x 1.0", ""),
        ("a", "package y 1.0", "the name is taken by package x 1.0"),
        ("b", "package z 1.0", ""),
        ("http", "package x 1.0", "the name is taken by built in"),
    ]


ALLOWING = (
    PluginsSection(http_hosts=("api.example.com",)),
    PluginsSection(shell_programs=("/bin/true",), shell_user="nobody"),
    PluginsSection(python=True),
    PluginsSection(publish_exchanges=("x",)),
)


@pytest.mark.parametrize("section", [PluginsSection(), *ALLOWING])
def test_where_no_type_can_be_on_executors_are_told_so(
    monkeypatch: pytest.MonkeyPatch, section: PluginsSection
) -> None:
    for module in (sources, importlib.metadata):
        monkeypatch.setattr(module, "entry_points", lambda group: [])
    settings = Settings(plugins=section)
    on = {plugin.name for plugin in NodeTypes(lambda: settings).plugins if plugin.state is not PluginState.OFF}
    assert may_be_any(settings) is bool(on) is (section in ALLOWING)


def test_installed_and_declared_types_may_be_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Point("a", "x")]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group == ENTRY_POINT_GROUP else [])
    assert may_be_any(Settings())
    found.clear()
    assert not may_be_any(Settings())
    assert may_be_any(Settings(plugins=PluginsSection(manifests=("types.toml",))))


def findings(config: Any) -> list[str]:
    return [sentence for _, sentence in ConfigSchema(SCHEMA).findings(config)]


@pytest.mark.parametrize(
    ("config", "sentences"),
    [
        ({"text": "ab"}, []),
        ({}, ["with also needs 'text'"]),
        ({"text": 1}, ["text must be of type string"]),
        ({"text": "a"}, ["text breaks the rule minLength: 2"]),
        ({"text": "ab", "mode": "sideways"}, ["mode must be one of up, down"]),
        ({"text": "ab", "txt": 1}, ["txt is no key of this type; did you mean 'text'?"]),
        ({"text": "ab", "more": {"a": 1}}, ["more.a must be of type string"]),
        ({"text": "ab", "list": [1, "x", 3]}, ["list breaks the rule maxItems: 2", "list.1 must be of type integer"]),
    ],
)
def test_the_schema_finds_everything_that_is_wrong(config: Any, sentences: list[str]) -> None:
    assert sorted(findings(config)) == sorted(sentences)


def test_no_sentence_repeats_a_value() -> None:
    for config in (
        {"text": "s3cret", "mode": "s3cret"},
        {"text": "s3cret", "times": "s3cret"},
        {"text": {"s3cret": 1}},
    ):
        assert "s3cret" not in " ".join(findings(config))


@pytest.mark.parametrize(
    ("config", "sentences"),
    [
        ({"text": UNKNOWN}, []),
        ({"text": "ab", "times": UNKNOWN, "mode": UNKNOWN, "more": UNKNOWN, "list": UNKNOWN}, []),
        ({"text": "ab", "more": {"a": UNKNOWN, "b": 1}}, ["more.b must be of type string"]),
        ({"times": UNKNOWN}, ["with also needs 'text'"]),
        (
            {"text": UNKNOWN, "other": UNKNOWN},
            ["other is no key of this type; known are text, times, mode, more, list"],
        ),
        ({"text": "ab", "list": [UNKNOWN, 2, 3]}, ["list breaks the rule maxItems: 2"]),
    ],
)
def test_what_a_reference_hides_is_not_judged_and_the_rest_is(config: Any, sentences: list[str]) -> None:
    assert findings(config) == sentences


def test_a_condition_about_an_unknown_value_decides_nothing() -> None:
    schema = {
        "type": "object",
        "if": {"properties": {"mode": {"const": "a"}}, "required": ["mode"]},
        "then": {"required": ["x"]},
        "else": {"required": ["y"]},
        "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
    }
    assert list(ConfigSchema(schema).findings({"mode": UNKNOWN})) == []
    assert list(ConfigSchema(schema).findings({"mode": "a", "y": 1})) == [((), "with also needs 'x'")]


def test_a_schema_may_refer_to_its_own_parts_and_cannot_make_us_fall() -> None:
    tree = {"type": "object", "properties": {"in": {"$ref": "#"}}, "additionalProperties": False}
    assert ConfigSchema(tree).fault() == ""
    assert list(ConfigSchema(tree).findings({"in": {"in": {"x": 1}}})) == [
        (("in", "in", "x"), "in.in.x is no key of this type; known are in")
    ]
    [(_, sentence)] = ConfigSchema({"type": "object", "$ref": "#"}).findings({})
    assert "refers to itself without end" in sentence


def test_text_without_references_is_foreseen_as_it_will_be() -> None:
    value = {"a": "$${x}", "b": ["${params.x}", "${nodes.a.output}/x", 1], "c": "$5"}
    assert foreseen(value) == {"a": "${x}", "b": [UNKNOWN, UNKNOWN, 1], "c": "$5"}


FLOW = """
flow: f
params: {word: string}
nodes:
  say:
    type: echo
    with: {text: "${params.word}", times: 3}
    retry: {max_attempts: 3}
    timeout: 5s
    pool: io
  again: {type: echo, with: {text: "${nodes.say.output.x}"}, needs: [say], when: "params.word != ''"}
"""


def problems(nodes: str, registry: Registry | None = None) -> list[str]:
    text = f"flow: f\nparams: {{word: string}}\nnodes:\n{textwrap.indent(textwrap.dedent(nodes).strip(), '  ')}\n"
    with pytest.raises(FlowError) as caught:
        load_flow(text, "f.yaml", registry if registry is not None else registry_with(Echo))
    return list(caught.value.problems)


def test_a_node_of_a_type_is_a_node_with_a_task() -> None:
    flow = load_flow(FLOW, "f.yaml", registry_with(Echo))

    say, again = flow.nodes
    assert (say.task, say.args, say.pool) == ("@echo", {"text": "${params.word}", "times": 3}, "io")
    assert say.retry is not None
    assert say.limits.start_to_close == 5
    assert (again.needs, again.when) == (("say",), "params.word != ''")


def test_such_a_flow_survives_yaml_and_the_wire() -> None:
    flow = load_flow(FLOW, "f.yaml")

    assert load_flow(dump_flow(flow), "f.yaml") == flow
    assert "type: echo" in dump_flow(flow)
    assert decode_flow(encode_flow(flow)) == flow


def test_config_errors_have_their_place_like_every_other_problem() -> None:
    found = problems(
        """
        a:
          type: echo
          with:
            times: many
            text: "${params.wrd}"
        b: {type: echo, with: {txt: ab}}
        c: {type: ecko}
        d: {type: echo, with: {text: forbidden}}
        """
    )
    assert found == [
        "f.yaml:7:14: node 'a': times must be of type integer",
        "f.yaml:8:13: node 'a': it refers to params.wrd, which the flow does not declare; did you mean 'word'?",
        "f.yaml:9:25: node 'b': with also needs 'text'",
        "f.yaml:9:31: node 'b': txt is no key of this type; did you mean 'text'?",
        "f.yaml:10:13: node 'c': there is no node type 'ecko' here; did you mean 'echo'?",
        "f.yaml:11:25: node 'd': text must not be that",
    ]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("a: {type: echo, task: w:x, with: {text: ab}}", "there is no key 'task' here"),
        ("a: {type: echo, args: {}, with: {text: ab}}", "there is no key 'args' here"),
        ("a: {task: w:x, with: {}}", "there is no key 'with' here"),
        ("a: {type: Echo}", "type 'Echo' is not allowed: a name of a type begins with a lower-case letter"),
        ("a: {type: 5}", "type must be a text"),
        ('a: {type: ""}', "type is empty"),
        ("a: {type: echo, with: [1]}", "with must be a mapping of names to values, or ${params}, not a list"),
        ('a: {type: echo, with: "${nodes}"}', "with must be a mapping"),
        ('a: {task: "@echo", args: {text: ab}}', "no task has such a name; a node type is written as type: echo"),
        ('a: {type: echo, with: {text: ab}, compensate: "@echo"}', "'@echo' stands for a node type; only a task"),
        ('a: {type: echo, with: {text: ab}, breaker: b, fallback: "@echo"}', "'@echo' stands for a node type; only"),
    ],
)
def test_what_is_no_node_of_a_type_is_refused_once(node: str, said: str) -> None:
    [problem] = problems(node)
    assert said in problem


def test_all_params_are_a_config_where_they_fit() -> None:
    def found(*params: str) -> list[str]:
        flow = Flow("f", "1", (Node("a", "@echo", "${params}"),), tuple(Param(each, ParamType.ANY) for each in params))
        return [str(problem) for problem in check(flow, registry_with(Echo))]

    assert found("text", "times") == []
    assert found("text", "word") == ["node 'a': word is no key of this type; known are text, times, mode, more, list"]
    assert found() == []


def test_a_broken_validate_is_a_problem_of_the_flow_and_no_crash() -> None:
    def broken(self: Any, config: Any) -> Any:
        raise KeyError("x")

    [problem] = problems("a: {type: echo, with: {text: ab}}", registry_with(changed(validate=broken)))
    assert "validate() of node type 'echo' failed with KeyError" in problem


def test_with_an_app_tasks_must_be_known_and_types_are_all_the_same() -> None:
    mesh = Mesh()

    @mesh.task(name="w:x")
    def known(text: str) -> str:
        return text

    registry = registry_with(Echo)
    registry.add(known)
    found = problems("a: {type: echo, with: {text: ab}}\nb: {task: w:y}\nc: {type: ecko}", registry)
    assert ["task 'w:y' is not registered" in found[0], "node type 'ecko'" in found[1]] == [True, True]


def test_no_task_of_an_app_can_have_the_name_of_a_type() -> None:
    with pytest.raises(UsageError, match="begins with @, as the names of node types do"):
        Mesh().task(name="@http")(lambda: 1)


class TestInPython:
    @pytest.fixture
    def mesh(self) -> Mesh:
        mesh = Mesh()
        mesh.registry.node_types = registry_with(Echo).node_types
        return mesh

    def test_a_node_has_config_policy_and_handles(self, mesh: Mesh) -> None:
        say = mesh.node_type("echo", retry=Retry(max_attempts=4), timeout=7, pool="io")

        @mesh.flow
        def both(word: str) -> Any:
            first = say(text=word, times=2)
            return say(text=first["x"], more={"a": "$${b}"}).named("second").after(first)

        one, two = both.compile().nodes
        assert (one.name, one.task, one.args, one.pool) == (
            "echo",
            "@echo",
            {"text": "${params.word}", "times": 2},
            "io",
        )
        assert one.retry is not None
        assert (one.retry.max_attempts, one.limits.start_to_close) == (4, 7)
        assert two == Node(
            "second",
            "@echo",
            {"text": "${nodes.echo.output.x}", "more": {"a": "$$$${b}"}},
            ("echo",),
            "io",
            one.retry,
            one.limits,
        )

    def test_both_faces_make_the_same_flow(self, mesh: Mesh) -> None:
        @mesh.flow(name="f")
        def flow(word: str) -> Any:
            return mesh.node_type("echo")(text=word).named("say")

        text = 'flow: f\nparams: {word: string}\nnodes: {say: {type: echo, with: {text: "${params.word}"}}}\n'
        text += "result: ${nodes.say.output}\n"
        assert flow.compile() == load_flow(text, "f.yaml", mesh.registry)

    @pytest.mark.parametrize(
        ("config", "said"),
        [
            ({}, "also needs 'text'"),
            ({"text": "ab", "tims": 1}, "did you mean 'times'"),
            ({"text": "forbidden"}, "text must not be that"),
        ],
    )
    def test_wrong_config_is_an_error_of_the_call(self, mesh: Mesh, config: dict[str, Any], said: str) -> None:
        @mesh.flow
        def wrong() -> Any:
            return mesh.node_type("echo")(**config)

        with pytest.raises(NodeConfigError, match=said):
            wrong.compile()

    def test_an_unknown_type_and_a_call_outside_are_errors(self, mesh: Mesh) -> None:
        @mesh.flow
        def wrong() -> Any:
            return mesh.node_type("ecko")()

        with pytest.raises(UsageError, match="no node type 'ecko' here; did you mean 'echo'"):
            wrong.compile()
        with pytest.raises(UsageError, match=r"is for functions with @mesh\.flow"):
            mesh.node_type("echo")(text="ab")
        with pytest.raises(UsageError, match="a task has no option 'retri'"):
            mesh.node_type("echo", retri=1)  # type: ignore[call-arg]


class TestExecution:
    @pytest.fixture
    def run(self) -> Any:
        [plugin] = loaded(Echo)
        assert plugin.task is not None
        return plugin.task.for_worker(OneNode).function

    def test_gets_config_and_context(self, run: Any) -> None:
        assert run(text="ab", more={"x": "y"}) == [{"text": "ab", "more": {"x": "y"}}, "ask"]

    @pytest.mark.parametrize("config", [{"text": 5}, {}, {"text": "ab", "b": 1}, {"text": "forbidden"}])
    def test_checks_again_what_references_hid(self, run: Any, config: dict[str, Any]) -> None:
        with pytest.raises(NodeConfigError, match="node type 'echo'"):
            run(**config)

    def test_is_for_workers_alone(self) -> None:
        [plugin] = loaded(Echo)
        assert plugin.task is not None
        with pytest.raises(UsageError, match="executed by workers only"):
            plugin.task.function(text="ab")


def test_the_process_that_registers_flow_files_knows_the_types(monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[Any] = []

    class Watch:
        activates = False

        async def run(self) -> None:
            """There is nothing to watch."""

    def of(foundation: Any, tasks: Any, tally: Any) -> Watch:
        known.append(tasks)
        return Watch()

    monkeypatch.setattr(flow_process.FlowWatch, "of", of)
    foundation: Any = SimpleNamespace(settings=Settings(plugins=PluginsSection(http_hosts=("a.test",))))

    async def scenario() -> None:
        session = flow_process.FlowSession(foundation, ("workers.orders",))
        await session.start()
        await session.close()

    asyncio.run(scenario())
    assert known[0].find("@http") is not None
    assert known[0].find("workers.orders:reserve") is not None


def test_settings_keep_the_passwords_of_named_brokers_to_themselves() -> None:
    from taskmesh.config import explain

    shown = {each.key: each.value_shown for each in explain({"plugins.publish_urls": ["a=amqp://u:s3cret@h/v"]}, {})}
    assert shown["plugins.publish_urls"] == "('a=amqp://u:***@h/v',)"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("publish_urls", ["amqp://h"], "NAME=URL"),
        ("publish_urls", ["a=http://h"], "amqp://"),
        ("http_hosts", ["https://example.com"], "must be a host"),
        ("http_hosts", ["*"], "must be a host"),
        ("http_hosts", ["a b"], "must be a host"),
        ("shell_programs", ["convert"], "must be the full path"),
        ("http_networks", ["10.0.0.1/8"], "must be a network"),
        ("http_networks", ["x"], "must be a network"),
        ("shell_user", 5, "must be text"),
    ],
)
def test_settings_of_node_types_are_checked(key: str, value: Any, said: str) -> None:
    from taskmesh.config import load_settings
    from taskmesh.errors import ConfigError

    with pytest.raises(ConfigError, match=said):
        load_settings({f"plugins.{key}": value}, {})
