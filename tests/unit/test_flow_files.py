from __future__ import annotations

import json
import math
import re
import runpy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskmesh.errors import FlowError, UsageError
from taskmesh.flows import dump_flow, flow_schema, load_flow, load_flow_file, yaml_reader
from taskmesh.flows import files as flow_files
from taskmesh.flows.fields import FLOW_KEYS, NODE_KEYS, PARAM_KEYS, STEP_KEYS, SWITCH_KEYS, TYPED_KEYS
from taskmesh.flows.json_reader import read_json
from taskmesh.flows.schema import schema_text
from taskmesh.flows.steps import FORMS
from taskmesh.flows.yaml_reader import read_yaml
from taskmesh.model.durations import MAX_SECONDS
from taskmesh.model.flow import ALL_PARAMS, Flow, Node, OnFailure, Param, ParamType
from taskmesh.model.references import escape
from taskmesh.model.validation import complete
from taskmesh.tasks.registry import Registry
from taskmesh.tasks.task import TaskPolicy, make_task

ROOT = Path(__file__).parents[2]

ORDER = """\
flow: order-fulfilment
version: 1.10
params:
  order_id: string
  amount: {type: number, default: 0}
  note: {required: false}
on_failure: continue
shard_by: params.order_id
result: {parcel: "${nodes.ship.output}", by: NO}
nodes:
  ship:    {task: w:ship, args: {parcel: "${nodes.reserve.output.parcel}"}, needs: [charge]}
  charge:  {task: w:charge, needs: [reserve], pool: io, args: {amount: "${params.amount}"}}
  reserve: {task: w:reserve, args: "${params}"}
"""


def problems(text: str, source: str = "f.yaml", tasks: Registry | None = None) -> list[str]:
    with pytest.raises(FlowError) as caught:
        load_flow(text, source, tasks)
    return list(caught.value.problems)


def with_node(fields: str) -> str:
    return f"flow: f\nnodes:\n  a: {fields}\n"


def args_of(yaml: str) -> Any:
    return load_flow(with_node(f"{{task: w:x, args: {yaml}}}"), "f.yaml").nodes[0].args


def test_a_file_becomes_a_flow() -> None:
    assert load_flow(ORDER, "order.yaml") == Flow(
        name="order-fulfilment",
        version="1.10",
        params=(
            Param("order_id", ParamType.STRING),
            Param("amount", ParamType.NUMBER, False, 0),
            Param("note", ParamType.ANY, False),
        ),
        on_failure=OnFailure.CONTINUE,
        shard_by="params.order_id",
        result={"parcel": "${nodes.ship.output}", "by": "NO"},
        nodes=(
            Node("reserve", "w:reserve", ALL_PARAMS),
            Node("charge", "w:charge", {"amount": "${params.amount}"}, ("reserve",), "io"),
            Node("ship", "w:ship", {"parcel": "${nodes.reserve.output.parcel}"}, ("charge", "reserve")),
        ),
    )


def test_json_is_read_to_the_same_flow() -> None:
    document = {
        "$schema": "../configs/flow.schema.json",
        "flow": "f",
        "version": 2,
        "params": {"p": {"type": "object", "default": {"a": [1, -2.5e3, True, None, "\u00fc\U0001f600\n"]}}},
        "nodes": {"a": {"task": "w:x", "args": {"v": "${params.p}"}}},
    }
    for text in (json.dumps(document), json.dumps(document, indent="\t", ensure_ascii=False)):
        flow = load_flow(text, "f.json")
        assert (flow.version, flow.params[0].default) == ("2", document["params"]["p"]["default"])
    assert load_flow(json.dumps(document, ensure_ascii=False), "standard input") == flow


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("12", 12),
        ("-0", 0),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-05-01", "2024-05-01"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        ("'12'", "12"),
        ('"null"', "null"),
        ("!!str 12", "12"),
        ("!!binary aGk=", b"hi"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    if text == "-":
        text = "'-'"
    found = args_of(f"{{v: {text}}}")["v"]

    assert (found, type(found)) == (value, type(value))


def test_all_problems_come_at_once_with_their_places() -> None:
    text = """\
flow: order fulfilment
params: {order_id: {type: strin}, amount: {type: number, default: x}, amount: {}}
on_failure: compensate
sharded: 3
nodes:
  reserve: {task: w:reserve, args: {id: "${params.orderid}"}, compensate: w release}
  charge:  {task: w:charge, needs: [reserv], when: 10s}
  "bad name": {task: 3}
  ship:
    task: w:ship
    needs: [charge, pack]
    args: {parcel: ["x", "${nodes.resrve.output.parcel} ${x}"]}
  pack:
    needs: [ship, ship, 7]
    tsk: w:pack
"""
    assert [problem.partition(";")[0] for problem in problems(text)] == [
        "f.yaml:1:7: flow name 'order fulfilment' must be 1-255 characters without spaces, $, { or }",
        "f.yaml:2:27: the type of parameter 'order_id' must be one of any, string, integer, number, boolean, array, "
        "object",
        "f.yaml:2:67: the default of parameter 'amount' must be a number, not 'x' (string)",
        "f.yaml:2:71: the key 'amount' is written twice, first in line 2",
        "f.yaml:4:1: there is no key 'sharded' here",
        "f.yaml:6:41: node 'reserve': it refers to params.orderid, which the flow does not declare",
        "f.yaml:6:75: node 'reserve': the task name 'w release' must be 1-255 characters without spaces, $, { or }",
        "f.yaml:7:37: node 'charge': it needs 'reserv', which is no node of this flow",
        "f.yaml:7:52: node 'charge': its condition is no CEL: 1:3: Syntax error: extraneous input 's' expecting <EOF>",
        "f.yaml:8:3: node 'bad name': the name is not allowed: a name begins with a letter or _, goes on with letters, "
        "digits, _ or -, and has at most 128 characters",
        "f.yaml:8:22: node 'bad name': task must be a text, not '3' (integer)",
        "f.yaml:11:12: node 'ship': the nodes need each other in a circle: ship -> pack -> ship (each needs the next)",
        "f.yaml:12:26: node 'ship': '${x}' is not a reference",
        "f.yaml:12:26: node 'ship': it refers to 'resrve', which is no node of this flow",
        "f.yaml:14:5: node 'pack': the key 'task' is missing",
        "f.yaml:14:19: node 'pack': needs names 'ship' twice",
        "f.yaml:14:25: node 'pack': each of needs must be a node name, not '7' (integer)",
        "f.yaml:15:5: node 'pack': there is no key 'tsk' here",
    ]


def test_the_nearest_known_name_is_named() -> None:
    text = "flow: f\nsharded: x\nnodes:\n  reserve: {task: w:x}\n  b: {task: w:x, needs: [reserv], arg: {}}\n"

    assert [problem.partition("; ")[2] for problem in problems(text)] == [
        "did you mean 'shard_by'?",
        "did you mean 'reserve'?",
        "did you mean 'args'?",
    ]


def test_tasks_are_held_to_those_that_are_known() -> None:
    registry = Registry()
    registry.add(make_task(lambda parcel: None, TaskPolicy("io"), "w:ship"))

    good = load_flow(with_node("{task: w:ship, args: {parcel: 1}}"), "f", registry)
    assert good.nodes[0].pool == "io"
    assert problems(with_node("{task: w:shp, pool: default}"), tasks=registry) == [
        "f.yaml:3:13: node 'a': task 'w:shp' is not registered; did you mean 'w:ship'?"
    ]
    assert problems(with_node("{task: w:ship, args: {parce: 1}}"), tasks=registry) == [
        "f.yaml:3:27: node 'a': task 'w:ship' also needs the argument 'parcel'",
        "f.yaml:3:28: node 'a': task 'w:ship' takes no argument 'parce'; did you mean 'parcel'?",
    ]
    assert len(problems(with_node("{args: 3}"), tasks=registry)) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: the file is empty; it needs at least the keys flow and nodes"),
        ("- a\n", "1:1: the file must be a mapping with the keys $schema, flow, "),
        ("flow: [\n", "not valid YAML: "),
        ("flow: f\nnodes:\n\ta: 3\n", "3:1: not valid YAML: the line is indented with a tab"),
        ("flow: f\n\tnodes: 3\n", "2:1: not valid YAML: the line is indented with a tab"),
        ("flow: f\nnodes:\t}\n", "2:8: not valid YAML: did not find expected"),
        ("flow: \x07\n", "1:7: not valid YAML: "),
        ("flow: f\n---\nflow: g\n", "2:1: a second document begins here; a file holds one flow"),
        ("? [a]\n: b\n", "1:3: a list or a mapping cannot be a key"),
        ("flow: *x\n", "1:7: "),
        ("flow: &a [*a]\n", "1:11: the alias *a stands for nothing that is complete before it"),
        (
            with_node("{task: w:x, args: {v: !!python/name:os.system x}}"),
            "3:28: the tag !!python/name:os.system is not",
        ),
        (with_node("!custom {task: w:x}"), "3:6: the tag !custom is not supported"),
        (with_node("{task: w:x, args: {v: !!binary '?'}}"), "3:28: the text after !!binary is not Base64"),
        (with_node("{task: w:x, args: {<<: {v: 1}}}"), "3:25: merge keys (<<) are not supported"),
        (with_node(f"{{task: w:x, args: {{v: {'9' * 5000}}}}}"), "3:28: a number of 5000 digits is too long"),
        ("flow: f\n", "1:1: the key 'nodes' is missing"),
        (
            "schedule: daily\n" + with_node("{task: w:x}"),
            "1:1: 'schedule' belongs in a schedule file (taskmesh schedule apply FILE)",
        ),
        ("flow: f\nnodes: {}\n", "2:8: the flow has no nodes"),
        ("flow: f\nnodes: [a]\n", "2:8: nodes must be a mapping of names to nodes, not a list"),
        (
            with_node("w:x"),
            "3:6: node 'a': a node must be a mapping with the keys task, needs, rule, depends, when, args, pool, "
            "retry, timeout, schedule_to_start, schedule_to_close, heartbeat_timeout, breaker, fallback, compensate, "
            "hooks, not 'w:x'",
        ),
        (
            with_node("{task: w:x, args: [1]}"),
            "3:24: node 'a': args must be a mapping of names to values, or ${params}",
        ),
        (
            with_node("{task: w:x, args: }"),
            "3:24: node 'a': args must be a mapping of names to values, or ${params}, not empty",
        ),
        (with_node("{task: w:x, needs: b}"), "3:25: node 'a': needs must be a list of node names, not 'b' (string)"),
        (with_node("{task: ''}"), "3:13: node 'a': task is empty"),
        ("params: {p: {required: maybe}}\n" + with_node("{task: w:x}"), "1:24: required must be true or false"),
        ("version: [1]\n" + with_node("{task: w:x}"), "1:10: version must be a text, not a list"),
        (
            "on_failure: fail\n" + with_node("{task: w:x}"),
            "1:13: on_failure must be one of fail_fast, continue, compensate; did you mean",
        ),
    ],
)
def test_bad_yaml_is_refused_with_one_sentence(text: str, problem: str) -> None:
    found = problems(text)

    assert problem in found[0]
    assert found[0].startswith("f.yaml:")
    assert all(len(each) < 400 for each in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: not valid JSON: a value is missing here"),
        ('{"flow": "f",\n "nodes"}', "2:9: not valid JSON: a colon is missing after the key 'nodes'"),
        ('{"flow": "f",}', "1:14: not valid JSON: a key in double quotes is missing here"),
        ('{"a": [1 2]}', "1:10: not valid JSON: a comma or ] is missing here"),
        ('{"a": [1,]}', "1:10: not valid JSON: a value is missing here"),
        ('{"a": 01}', "1:8: not valid JSON: a comma or } is missing here"),
        ('{"a": NaN}', "1:7: not valid JSON: a value is missing here"),
        ('{"a": "x\ny"}', "1:9: not valid JSON: Invalid control character at"),
        ('{"a": "x', "1:7: not valid JSON: Unterminated string starting at"),
        ("{} {}", "1:4: not valid JSON: nothing may follow the end"),
        ("[" * 100_000, "1:69: not valid JSON: nested deeper than 68 levels"),
        ('{"a": ' + "9" * 5000 + "}", "1:7: a number of 5000 digits is too long"),
        (
            '{"flow": "f", "nodes": {"a": {"task": "w:x"},\n"a": {}}}',
            "2:1: the key 'a' is written twice, first in line 1",
        ),
        ('{"flow": "f", "nodes": {"a": {"task": "w:x", "retry": 1}}}', "1:55: node 'a': retry must be a mapping"),
        (
            '{"flow": "f", "nodes": {"a": {"task": "w:x", "heartbeat": 1}}}',
            "1:46: node 'a': 'heartbeat' is not supported",
        ),
    ],
)
def test_bad_json_is_refused_with_one_sentence(text: str, problem: str) -> None:
    assert f"f.json:{problem}" in "\n".join(problems(text, "f.json"))


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("source", ["f.yaml", "f.json"])
def test_depth_is_limited_while_reading(source: str) -> None:
    def text(levels: int) -> str:
        return f'{{"flow": "f", "nodes": {{"a": {{"task": "w:x", "args": {{"v": {nested(levels)}}}}}}}}}'

    assert load_flow(text(63), source).nodes[0].name == "a"
    assert "deeper than 64 levels" in problems(text(64), source)[0]
    assert "deeper than 68 levels" in problems(text(65), source)[0]


def test_endless_brackets_end_quickly() -> None:
    begun = time.process_time()

    # Some versions of the parser look further ahead than we read, and refuse first.
    [problem] = problems("flow: " + "[" * 1_000_000)
    assert re.match(
        r"f.yaml:1:\d+: (nested deeper than 68 levels|not valid YAML: exceeded maximum nesting depth)", problem
    )
    assert time.process_time() - begun < 10


def test_aliases_repeat_values_within_limits() -> None:
    args = "{a: &one [1, {k: &two x}], b: *one, *two : *two}"

    assert args_of(args) == {"a": [1, {"k": "x"}], "b": [1, {"k": "x"}], "x": "x"}


def test_the_loader_in_python_reads_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    by_c = load_flow(ORDER, "f.yaml")
    monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)

    assert load_flow(ORDER, "f.yaml") == by_c
    assert problems("flow: " + "[" * 1000) == ["f.yaml:1:74: nested deeper than 68 levels"]
    assert "f.yaml:1:7: not valid YAML: " in problems("flow: \x07\n")[0]


def test_an_alias_bomb_is_refused() -> None:
    lines = ["flow: f", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]

    assert "the aliases stand for more than 100000 values" in problems("\n".join(lines))[0]


def test_aliases_cannot_nest_deeper_than_values() -> None:
    lines = ["flow: f", "a0: &a0 [x]", *(f"a{level}: &a{level} [*a{level - 1}]" for level in range(1, 100))]

    assert "the alias *a66 nests deeper than 68 levels" in problems("\n".join(lines))[0]


def test_a_problem_in_an_alias_is_placed_at_the_alias() -> None:
    text = 'flow: f\nresult: &x ["${params.p}"]\nnodes:\n  a: {task: w:x, args: {v: *x}}\n'

    assert [problem[:11] for problem in problems(text)] == ["f.yaml:2:13", "f.yaml:2:13"]


def test_files_are_read_with_clear_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "order.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + ORDER.encode())
    assert load_flow_file(file) == load_flow(ORDER, "x")
    file.write_bytes(b"flow: \xff")
    with pytest.raises(FlowError, match=r"order\.yaml: byte 6 is not UTF-8"):
        load_flow_file(file)
    with pytest.raises(UsageError, match=r"gone\.yaml cannot be read: No such file"):
        load_flow_file(str(tmp_path / "gone.yaml"))
    monkeypatch.setattr(flow_files, "MAX_FILE_BYTES", 5)
    with pytest.raises(FlowError, match="may have 5 bytes"):
        load_flow_file(file)
    with pytest.raises(FlowError, match="may have 5 bytes"):
        load_flow(ORDER, "x")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary(max_size=20)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
OBJECTS = st.dictionaries(TEXT, st.integers() | TEXT, max_size=3)
TRICKY = st.sampled_from(
    ["NO", "1e3", "0o7", "0x1f", "~", "null", "<<", "*a", "&a", "- x", "a: b", "#", "", " x ", "1_0"]
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.recursive(
    SCALARS | TEXT | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TRICKY, inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(TEXT | TRICKY, VALUES, max_size=4), VALUES, NAMES, st.none() | st.floats(0.001, MAX_SECONDS))
@example({}, {"\x85": "\u2028\ufeff\x7f\x00\t\n \n"}, "no", 600.0)
def test_a_dumped_flow_loads_as_the_same(args: dict[str, Any], result: Any, name: str, timeout: float | None) -> None:
    flow = complete(
        Flow(
            name="f:x",
            version="1e3",
            nodes=(Node(name, "w:x", escape(args)), Node(f"{name}1", "w:y", ALL_PARAMS, (name,), "io")),
            params=(Param("p", ParamType.STRING), Param("q", ParamType.ANY, False, result)),
            on_failure=OnFailure.CONTINUE,
            shard_by="params.p",
            timeout_seconds=timeout,
            result=escape(result),
        )
    )

    assert load_flow(dump_flow(flow), "f.yaml") == flow


def test_the_timeout_of_a_flow_is_a_length_of_time() -> None:
    text = "flow: f\ntimeout: {}\nnodes: {{a: {{task: w:x}}}}\n"
    assert load_flow(text.format("10m"), "f.yaml").timeout_seconds == 600.0
    assert load_flow(text.format(1.5), "f.yaml").timeout_seconds == 1.5
    assert problems(text.format("soon")) == [
        "f.yaml:2:10: timeout must be a number of seconds, or a number with ms, s, m, h or d behind it, "
        "not 'soon' (string)"
    ]
    assert problems(text.format(0)) == [
        "f.yaml:2:10: timeout must be more than 0 and at most 31622400 seconds (366 days), not 0"
    ]


def test_what_yaml_cannot_hold_is_not_dumped() -> None:
    with pytest.raises(FlowError, match="flow 'f' holds a value that YAML cannot hold"):
        dump_flow(Flow("f", "1", (Node("a", "w:x", {"v": object()}),)))


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | FINITE | TEXT, lambda inner: st.lists(inner) | OBJECTS))
def test_json_is_read_as_the_standard_library_does(value: Any) -> None:
    for text in (json.dumps({"v": value}), json.dumps({"v": value}, indent=1, ensure_ascii=False)):
        assert read_json(text)[0].plain() == {"v": value}
        # YAML has another notation for what is beyond 16 bits, and takes no DEL.
        if text.isascii() and "\\ud" not in text and "\x7f" not in text:
            assert read_yaml(text)[0].plain() == {"v": value}


def test_the_published_schema_is_current() -> None:
    published = (ROOT / "configs" / "flow.schema.json").read_text(encoding="utf-8")

    assert published == schema_text(), "run: python -m taskmesh.flows > configs/flow.schema.json"


def test_the_schema_names_every_key_and_describes_it() -> None:
    schema = flow_schema()
    (node, switch, typed, *steps), param = schema["$defs"]["node"]["anyOf"], schema["$defs"]["param"]["anyOf"][1]

    assert tuple(schema["properties"]) == FLOW_KEYS
    assert tuple(node["properties"]) == NODE_KEYS
    assert tuple(switch["properties"]) == SWITCH_KEYS
    assert tuple(typed["properties"]) == TYPED_KEYS
    assert tuple(param["properties"]) == PARAM_KEYS
    assert [tuple(step["properties"]) for step in steps] == [(*form.keys, *STEP_KEYS) for form in FORMS.values()]
    for described in (schema, node, switch, typed, *steps):
        assert all("description" in each for each in described["properties"].values())
        assert described["additionalProperties"] is False


@pytest.mark.parametrize("reference", ["type", "node", "param", "name", "inline"])
def test_the_references_of_the_schema_lead_somewhere(reference: str) -> None:
    assert f'"$ref": "#/$defs/{reference}"' in schema_text()
    assert reference in flow_schema()["$defs"]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["f.yaml", "f.json"])
def test_large_files_load_in_seconds(source: str) -> None:
    count = 20_000
    document = {
        "flow": "large",
        "nodes": {
            f"n{number}": {"task": "w:x", "needs": [f"n{number - 1}"] if number else [], "args": {"v": number}}
            for number in range(count)
        },
    }
    text = json.dumps(document, indent=1)
    begun = time.process_time()
    flow = load_flow(text, source)
    took = time.process_time() - begun

    print(f"{count} nodes, {len(text)} bytes as {source}: {took:.2f} s of CPU")
    assert len(flow.nodes) == count
    assert took < 30


def test_the_examples_of_the_page_are_one_flow(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "flows.md").read_text(encoding="utf-8")
    script = tmp_path / "orders.py"
    script.write_text(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    by_python = runpy.run_path(str(script))["order"].compile()
    by_yaml = load_flow(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0], "order.yaml")

    assert (by_yaml.params, by_yaml.result) == (by_python.params, by_python.result)
    for ours, theirs in zip(by_yaml.nodes, by_python.nodes, strict=True):
        assert (ours.name, ours.args, set(ours.needs), ours.pool) == (
            theirs.name,
            theirs.args,
            set(theirs.needs),
            theirs.pool,
        )
