"""What the import contracts cannot say."""

from __future__ import annotations

import ast
import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "taskmesh"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300
MAX_FUNCTION_LINES = 50


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for each in ast.walk(ast.parse(module.read_text())):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each


def test_every_part_of_the_package_has_a_layer() -> None:
    layers = setup_cfg()["importlinter:contract:layers"]["layers"]
    placed = set(re.findall(r"\w+", layers))
    parts = {each.stem for each in PACKAGE.iterdir() if each.suffix == ".py" or (each / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} <= placed


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_LINES
    long = [each.name for each in functions(module) if (each.end_lineno or 0) - each.lineno >= MAX_FUNCTION_LINES]
    assert long == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_check_is_switched_off_and_no_name_says_nothing(module: Path) -> None:
    assert not re.search(r"#\s*(noqa|type:\s*ignore|pragma)", module.read_text())
    assert module.stem not in {"utils", "common", "helpers", "manager"}


def test_every_requirement_is_imported_somewhere() -> None:
    required = {
        re.split(r"[<>=;]", line)[0].strip() for line in setup_cfg()["options"]["install_requires"].splitlines()
    }
    names = {"prometheus-client": "prometheus_client", "PyYAML": "yaml", "common-expression-language": "cel"}
    # hiredis is found by redis itself; packaging is what kombu's Redis transport needs and does not ask for;
    # zoneinfo finds tzdata.
    wanted = {names.get(each, each) for each in required - {"", "hiredis", "packaging", "tzdata"}}
    assert wanted <= {name for module in MODULES for name in imported(module)}


def imported(module: Path) -> Iterator[str]:
    for each in ast.walk(ast.parse(module.read_text())):
        if isinstance(each, ast.Import):
            yield from (alias.name.split(".")[0] for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.module:
            yield each.module.split(".")[0]


def test_the_compose_file_mounts_files_that_exist() -> None:
    services = yaml.safe_load((ROOT / "configs/docker-compose.yml").read_text())["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", []) if mount[0] == "."]
    assert mounts
    assert all((ROOT / "configs" / mount.split(":")[0]).is_file() for mount in mounts)
    assert set(services) == {"rabbitmq", "redis", "worker", "prometheus"}


def test_the_definitions_have_no_users_and_no_passwords() -> None:
    definitions = json.loads((ROOT / "configs/rabbitmq/definitions.json").read_text())
    assert "users" not in definitions
    assert "password" not in json.dumps(definitions)
