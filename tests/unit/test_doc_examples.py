"""The examples in the documentation are what they seem to be: flows that load."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import taskmesh
from taskmesh import load_flow

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("flows", "context", "plugins", "payloads", "testing", "versions", "schedules", "events")
FENCED = re.compile(r"^```(yaml|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NODE = re.compile(r"nodes\.(\w+)|\b(\w+)\.(?:succeeded|failed|skipped|done)\b")
TOP_KEYS = ("flow:", "nodes:", "on_failure:", "breakers:", "hooks:", "# yaml-language-server")


class Example(NamedTuple):
    """A fenced block, and where it stands."""

    place: str
    language: str
    text: str


def _examples() -> Iterator[Example]:
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text()
        for found in FENCED.finditer(text):
            yield Example(f"{page}.md:{text.count(chr(10), 0, found.start()) + 2}", found[1], found[2])


def _marked(examples: list[Example]) -> list[Any]:
    return [pytest.param(each, id=each.place) for each in examples]


ALL = list(_examples())
YAML = [each for each in ALL if each.language == "yaml" and (each.text.startswith((*TOP_KEYS, "  ")))]
PYTHON = [each for each in ALL if each.language == "python"]


def _whole(text: str) -> str:
    """A part of a flow with what it leaves to the reader: the nodes around it, and the parameters."""
    if text.startswith("  "):
        text = f"nodes:\n{text}"
    if "nodes:\n" not in text:
        text += "nodes:\n  only: {task: 'shop:only'}\n"
    own = set(re.findall(r"^  (\w+):", text.partition("nodes:\n")[2], re.MULTILINE))
    needed = {name for pair in NODE.findall(text) for name in pair}
    for listed in re.findall(r"needs: \[([^]]*)\]", text):
        needed |= {name.strip() for name in listed.split(",")}
    text += "".join(f"\n  {name}: {{task: 'shop:{name}'}}" for name in sorted(needed - own - {""}))
    params = sorted(set(re.findall(r"params\.(\w+)", text)))
    if params and "\nparams:" not in text:
        text = f"params: {{{', '.join(f'{name}: any' for name in params)}}}\n{text}"
    return text if re.search(r"^flow:", text, re.MULTILINE) else f"flow: example\n{text}"


@pytest.mark.parametrize("example", _marked(YAML))
def test_a_flow_in_yaml_loads(example: Example) -> None:
    assert load_flow(_whole(example.text), example.place).nodes


@pytest.mark.parametrize("example", _marked(PYTHON))
def test_what_is_python_can_be_read_and_its_flows_are_flows(example: Example, tmp_path: Path) -> None:
    tree = ast.parse(example.text)
    names = _flows_in(tree)
    if not names:
        return
    source = tmp_path / "example.py"
    source.write_text(_around(tree) + example.text)
    spec = importlib.util.spec_from_file_location("example", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert all(getattr(module, name).compile().nodes for name in names)


def _flows_in(tree: ast.Module) -> list[str]:
    """The functions that are flows; not those of which just the head is shown."""
    functions = [each for each in tree.body if isinstance(each, ast.FunctionDef) and ast.unparse(each.body[0]) != "..."]
    return [each.name for each in functions if any("mesh.flow" in ast.unparse(by) for by in each.decorator_list)]


def _around(tree: ast.Module) -> str:
    """What an example takes as given: a mesh, what there is to import, and tasks, which all other names are."""
    names = [each for each in ast.walk(tree) if isinstance(each, ast.Name)]
    said = {each.id for each in names if not isinstance(each.ctx, ast.Load)}
    said |= {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.ClassDef)}
    said |= {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    said |= {each.name for each in ast.walk(tree) if isinstance(each, ast.alias)}
    tasks = {each.id for each in names} - said - {*vars(builtins), *vars(taskmesh), *taskmesh.__all__, "mesh"}
    return PREAMBLE + "".join(f"{name} = mesh.task(name={name!r})(_anything)\n" for name in sorted(tasks))


PREAMBLE = """
from taskmesh import *

mesh = Mesh()


def _anything(one=None, two=None, three=None, **others): ...


"""


def test_there_are_examples_of_either_kind() -> None:
    assert len(YAML) > 12
    assert sum(len(_flows_in(ast.parse(each.text))) for each in PYTHON) > 6
